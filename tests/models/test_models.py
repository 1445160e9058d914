"""Networks: shapes at any length, patch and channel count; what the upstream fork claims and did not do."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from distgan import config, models
from distgan.models.layers import (
    Block,
    PatchHead,
    Transformer,
    checkpoint_activations,
    compute_rotary_angles,
    pool,
    rotate,
    upsample,
)
from distgan.models.multiscale import sample_readings
from distgan.models.norms import normalise
from distgan.models.readings import ColouredNoise, SoftMinimum
from distgan.models.recurrent import Recurrent
from distgan.models.side_discriminators import compute_spectrogram, fold_periods
from distgan.models.vae import VAE
from distgan.objectives.derivatives import twice_differentiable

SMALL = {
    "multiscale": [
        "model.generator.width=16",
        "model.generator.noise_dim=6",
        "model.generator.token_noise_dim=2",
        "model.generator.noise_lags=[1,2]",
        "model.generator.soft_minimum=true",
        "model.generator.token_noise_scales=[0,2]",
        "model.discriminator.width=16",
        "model.discriminator.side_channels=2",
    ],
    "tts_gan_fork": ["model.name=tts_gan_fork", "model.depth=1", "model.discriminator_depth=2"],
}


def small(name: str, *more: str) -> config.Config:
    return config.load(None, [*SMALL[name], "bank.condition_dim=4", *more])


def sampled(
    networks: dict[str, nn.Module], count: int, dtype: torch.dtype = torch.float32, channels: int = 1
) -> tuple[Tensor, Tensor]:
    noise = torch.randn(count, networks["generator"].noise_dim, dtype=dtype)
    return noise, torch.randn(count, 2 * channels + 4, dtype=dtype)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("length", "channels"), [(100, 1), (97, 3), (24, 1)])
@pytest.mark.parametrize("patch", [16, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_length_channels_and_patch(
    name: str, length: int, channels: int, patch: int, dtype: torch.dtype
) -> None:
    networks = models.build(small(name, f"model.patch={patch}"), length, channels)
    noise, condition = sampled(networks, 2, dtype, channels)
    series = networks["generator"](noise, condition)
    assert series.shape == (2, length, channels) and series.dtype == dtype
    assert series.abs().max() <= 1
    logits = networks["discriminator"](series, condition)
    assert logits.shape[0] == 2 and logits.dtype == torch.float32 and torch.isfinite(logits).all()


def test_readings_have_the_mean_spread_and_skewness_that_tokens_tell() -> None:
    """Moments of m + s e + k (e^2 - 1) / sqrt(2), e normal: mean m, variance s^2 + k^2, third
    3 sqrt(2) s^2 k + 2 sqrt(2) k^3.
    """
    torch.manual_seed(0)
    parameters = torch.tensor([[0.3, 0.8, 0.4], [-1.0, 0.5, 0.0]]).repeat(1, 2)[None]  # two channels alike
    parameters = parameters[..., [0, 3, 1, 4, 2, 5]]
    made = sample_readings(parameters.expand(200_000, 2, 6), torch.randn(200_000, 2, 2)).double()
    for step, (m, s, k) in enumerate([(0.3, 0.8, 0.4), (-1.0, 0.5, 0.0)]):
        centred = made[:, step] - made[:, step].mean(0)
        assert made[:, step].mean(0).tolist() == pytest.approx([m, m], abs=0.01)
        assert centred.square().mean(0).tolist() == pytest.approx([s**2 + k**2] * 2, rel=0.02)
        third = 3 * 2**0.5 * s**2 * k + 2 * 2**0.5 * k**3
        assert (centred**3).mean(0).tolist() == pytest.approx([third] * 2, abs=0.05)


def test_no_reading_is_settled_by_its_token_alone() -> None:
    """With the noise of series and tokens held, what is left spreads over as many directions as steps. A soft
    minimum may make some readings nearly constant.
    """
    torch.manual_seed(0)
    settings = small(
        "multiscale",
        "model.patch=16",
        "model.generator.soft_minimum=false",
    )
    generator = models.build(settings, 64, 1)["generator"]
    noise, condition = sampled({"generator": generator}, 1)
    noise = noise.repeat(300, 1)
    noise[:, -64:] = torch.randn(300, 64)
    with torch.no_grad():
        series = generator(noise, condition.repeat(300, 1))[..., 0]
    assert torch.linalg.matrix_rank(series - series.mean(0)) == 64


@pytest.mark.parametrize("patch", [16, 24])
def test_a_year_of_hours_with_any_patch(patch: int) -> None:
    """The upstream fork crashes at 8760 with a patch of 16."""
    networks = models.build(small("multiscale", f"model.patch={patch}"), 8760, 1)
    noise, condition = sampled(networks, 1)
    assert networks["generator"](noise, condition).shape == (1, 8760, 1)


def test_most_weights_are_in_the_transformers() -> None:
    """The upstream fork puts 99.9 % of 43.9 M weights in the first Linear."""
    generator = models.build(config.load(), 8760, 1)["generator"]
    inside = sum(
        parameter.numel()
        for module in generator.modules()
        if isinstance(module, Transformer)
        for parameter in module.parameters()
    )
    assert inside > 0.6 * sum(parameter.numel() for parameter in generator.parameters())


def test_tts_gan_fork_has_the_size_of_the_upstream_networks() -> None:
    """177,902 weights in its discriminator at 2190 with its notebook's patch of 2."""
    common = ["model.name=tts_gan_fork", "encoder.latent_dim=32", "bank.condition_dim=32"]
    notebook = models.build(config.load(None, [*common, "model.patch=2"]), 2190, 1)["discriminator"]
    assert sum(parameter.numel() for parameter in notebook.parameters()) == 177_902
    networks = models.build(config.load(None, common), 2190, 1)
    lift = networks["generator"].lift
    assert tuple(lift.weight.shape) == (21900, 132 + 2)  # location and scale are given, too
    heads = [branch.blocks[0].heads for branch in networks["generator"].branches]
    assert (heads, networks["generator"].weights) == ([10, 5, 2], (1.0, 0.2, 0.1))


@pytest.mark.parametrize("name", SMALL)
def test_noise_and_condition_both_matter(name: str) -> None:
    """The upstream fork calls the generator without its condition in four places."""
    torch.manual_seed(0)
    generator = models.build(small(name), 100, 1)["generator"].eval()
    noise, condition = sampled({"generator": generator}, 2)
    series = generator(noise, condition)
    assert (generator(noise.flip(0), condition) - series).abs().max() > 1e-4
    assert (generator(noise, condition.flip(0)) - series).abs().max() > 1e-4
    with pytest.raises(TypeError):
        generator(noise)


def test_the_discriminator_sees_the_condition() -> None:
    torch.manual_seed(0)
    discriminator = models.build(small("multiscale"), 100, 1)["discriminator"]
    series, condition = torch.randn(2, 100, 1), torch.randn(2, 6)
    assert (discriminator(series, condition) - discriminator(series, condition.flip(0))).abs().min() > 1e-6


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_is_trained(name: str) -> None:
    torch.manual_seed(0)
    networks = models.build(small(name), 400, 1)
    noise, condition = sampled(networks, 3)
    series = networks["generator"](noise, condition)
    (networks["discriminator"](series, condition) ** 2).sum().backward()
    idle = [
        f"{owner}.{key}"
        for owner, network in networks.items()
        for key, parameter in network.named_parameters()
        if parameter.grad is None
    ]
    assert idle == []


def test_scales_are_data() -> None:
    scales = "model.generator.scales=[{ratio: 1, depth: 1, heads: 2}, {ratio: 8, depth: 3, heads: 4}]"
    generator = models.build(small("multiscale", scales), 100, 1)["generator"]
    assert [(b.ratio, len(b.transformer.blocks)) for b in generator.branches] == [(1, 1), (8, 3)]


def test_kernels_of_the_head_have_the_norm_that_was_learned() -> None:
    """At first (patch / width)^½, so that readings of two tokens of size 1 have a deviation of width^-½."""
    torch.manual_seed(0)
    head = PatchHead(width=32, length=6000, channels=3, patch=6)
    kernels = head.deconvolution.weight.transpose(0, 1).flatten(1)
    assert kernels.norm(dim=1).tolist() == pytest.approx([(6 / 32) ** 0.5] * 3)
    assert head(torch.randn(4, 1000, 32)).std((0, 1)).tolist() == pytest.approx([32**-0.5] * 3, rel=0.1)


def test_pool_and_upsample_keep_a_constant() -> None:
    tokens = torch.full((1, 7, 3), 2.5)
    assert torch.equal(pool(tokens, 2), torch.full((1, 4, 3), 2.5))
    assert torch.equal(upsample(pool(tokens, 2), 7), tokens)


def test_folding_puts_a_period_in_a_row() -> None:
    picture = fold_periods(torch.arange(50.0).view(1, 50, 1), 24)
    assert picture.shape == (1, 1, 3, 24)
    assert picture[0, 0, 1, 0] == 24 and picture[0, 0, 2, 2] == 0


def test_the_spectrogram_finds_the_day() -> None:
    hours = torch.arange(960.0)
    spectrum = compute_spectrogram(torch.sin(2 * torch.pi * hours / 24).view(1, -1, 1), 48)
    assert spectrum.mean(3)[0, 0].argmax().item() == 2  # 48 / 24


def test_recomputed_activations_change_nothing() -> None:
    torch.manual_seed(0)
    generator = models.build(small("multiscale"), 100, 1)["generator"]
    noise, condition = sampled({"generator": generator}, 2)
    gradients = []
    for _ in range(2):
        generator.zero_grad()
        generator.eval()(noise, condition).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in generator.parameters()])
        checkpoint_activations([generator])
    assert all(torch.equal(a, b) for a, b in zip(*gradients))


def test_the_vae_reconstructs_better_than_the_mean_curve() -> None:
    """The upstream fork's encoder has neither reconstruction nor KL, and its gradient is thrown away."""
    from distgan.objectives.losses import compute_evidence_lower_bound

    torch.manual_seed(0)
    settings = config.load(
        None, ["encoder.patch=12", "encoder.width=32", "encoder.latent_dim=8", "bank.condition_dim=4"]
    )
    phase, hours = 6.28 * torch.rand(32, 1), torch.arange(96.0)
    series = (0.5 * torch.sin(hours / 12 * 3.14 + phase))[..., None]
    mask = torch.ones_like(series)
    vae = VAE(96, 1, settings.encoder)
    adam = torch.optim.Adam(vae.parameters(), lr=3e-3)
    for _ in range(300):
        reconstruction, mean, logvar = vae(series, mask, torch.randn(32, 8))
        terms = compute_evidence_lower_bound(
            series, mask, reconstruction, mean, logvar, beta=1.0, free_bits=0.05
        )
        adam.zero_grad()
        terms["loss"].backward()
        adam.step()
    mean_curve = (series - series.mean(0)).square().mean()
    assert terms["mse"] < 0.1 * mean_curve
    assert terms["kl"] > 1  # the latents are informative


def test_a_gap_says_nothing_to_the_encoder() -> None:
    torch.manual_seed(0)
    vae = VAE(96, 1, config.Encoder(patch=12, width=16, latent_dim=4))
    series, mask = torch.randn(1, 96, 1), torch.ones(1, 96, 1)
    mask[:, 10:30] = 0
    filled = torch.where(mask > 0, series, 99.0)
    assert torch.equal(vae.encoder(series, mask)[0], vae.encoder(filled, mask)[0])


def test_recurrent_layers_do_without_cudnn_where_they_are_differentiated_twice() -> None:
    """Its backward passes have no derivative, which shows on a GPU alone."""
    network, x, allowed = Recurrent(3, 4, 2, "lstm"), torch.randn(2, 5, 3), []
    for layer in network.layers:
        layer.register_forward_pre_hook(lambda *called: allowed.append(torch.backends.cudnn.enabled))
    network(x)
    with twice_differentiable():
        network(x)
    network(x)
    assert allowed == 2 * [True] + 2 * [False] + 2 * [True]


def test_coloured_noise_has_the_spectrum_of_its_cosines() -> None:
    """ln |H(f)| = a cos(2 pi f): autocorrelations of a filter of unit power, by an integral over f."""
    torch.manual_seed(0)
    length, amplitude = 4096, 0.5
    colour, style = ColouredNoise(2, [1], 3), torch.zeros(8, 3)
    white = torch.randn(8, length, 2)
    torch.testing.assert_close(colour(white, style), white, rtol=1e-4, atol=1e-5)  # before training
    with torch.no_grad():
        colour.amplitudes.bias.fill_(amplitude)
    made = colour(white, style).double()
    frequency = torch.arange(100_000, dtype=torch.float64) / 100_000
    power = (2 * amplitude * torch.cos(2 * torch.pi * frequency)).exp()
    assert made.square().mean().item() == pytest.approx(1, abs=0.02)
    for lag in (1, 2, 5):
        wanted = (power * torch.cos(2 * torch.pi * lag * frequency)).sum() / power.sum()
        found = (made * made.roll(lag, 1)).mean() / made.square().mean()
        assert found.item() == pytest.approx(wanted.item(), abs=0.02)


@pytest.mark.parametrize("length", [101, 64])
def test_coloured_noise_keeps_its_power_at_any_length(length: int) -> None:
    torch.manual_seed(0)
    colour = ColouredNoise(1, [1, 2, 24], 4)
    nn.init.normal_(colour.amplitudes.weight, std=0.3)
    pulse = torch.zeros(1, length, 1)
    pulse[0, 0] = 1
    for style in torch.randn(3, 1, 4):
        assert colour(pulse, style).square().sum().item() == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("shape", [None, (5,), (2, 1, 5)])
def test_the_norm_has_the_derivative_of_its_formula(shape: tuple[int, ...] | None) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    gain = None if shape is None else torch.randn(shape, dtype=torch.float64, requires_grad=True)
    inputs = (x,) if gain is None else (x, gain)

    def formula(x: Tensor) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()

    def slope(function: Callable[[Tensor], Tensor]) -> Tensor:
        """By owners, as a private training takes it."""
        return torch.func.vmap(torch.func.grad(lambda row: function(row[None])[..., 1].sum()))(x.detach())

    torch.testing.assert_close(normalise(*inputs), formula(x) * (1 if gain is None else gain))
    assert torch.autograd.gradcheck(normalise, inputs)
    torch.testing.assert_close(slope(normalise), slope(formula))


@pytest.mark.parametrize("width", [6, 7])
def test_rotation_multiplies_pairs_by_complex_numbers(width: int) -> None:
    torch.manual_seed(0)
    x, gain = torch.randn(2, 5, 2, 3, width), torch.randn(2, width)
    cos, sin = compute_rotary_angles(5, width, x.device)
    scaled = x * gain[:, None]
    turned = torch.complex(scaled[..., :3], scaled[..., 3:6]) * torch.complex(cos, sin)[:, None, None]
    wanted = torch.cat([turned.real, turned.imag, scaled[..., 6:]], dim=-1)
    torch.testing.assert_close(rotate(x, gain), wanted)


def test_a_soft_minimum_flattens_what_lies_below() -> None:
    limit = SoftMinimum(1, 2, minimum=-0.2, sharpness=50.0)
    series = torch.tensor([-0.9, -0.5, -0.2, 0.5])[None, :, None]
    limited = limit(series, torch.zeros(1, 2))[0, :, 0]
    assert limited.tolist() == pytest.approx([-0.2, -0.2, -0.2 + math.log(2) / 50, 0.5], abs=1e-4)


def test_a_blunt_soft_minimum_does_not_move_a_series_far() -> None:
    """ln 2 / β is added at the minimum: with β of a tenth, tanh of the series would be 1 everywhere."""
    series = torch.linspace(-0.5, 0.5, 9)[None, :, None]
    limited = torch.tanh(SoftMinimum(1, 2, sharpness=0.1)(series, torch.zeros(1, 2)))
    assert limited.max() < 0.9 and limited.std() > 0.05


def test_a_style_changes_nothing_at_first() -> None:
    """Its scales and gates are 1: a block with a style begins as one without."""
    torch.manual_seed(0)
    styled, plain = Block(16, 2, style_dim=3), Block(16, 2)
    plain.load_state_dict(
        {name: value for name, value in styled.state_dict().items() if "modulation" not in name}
    )
    x_BND = torch.randn(2, 5, 16)
    torch.testing.assert_close(styled(x_BND, torch.randn(2, 3)), plain(x_BND))
