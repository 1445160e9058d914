"""A run that is private end to end is refused, by name, whatever would read real series beside the sums."""

import pytest

from distgan import config
from distgan.errors import UserError

SOUND = [
    "privacy.end_to_end=true",
    "privacy.epsilon=4",
    "privacy.owners=5000",
    "data.scaling.bound=6",
    "objective.loss=nonsaturating",
    "objective.penalty.fraction=1",
    "train.max_rollbacks=0",
]


def test_what_is_covered_loads() -> None:
    assert config.load(None, SOUND).privacy.end_to_end
    assert config.load(None, [*SOUND, "model.name=mlp_gan", "data.scaling.method=minmax"])
    assert config.load(None, [*SOUND, "data.scaling.transform=log1p", "data.scaling.unit=0.3"])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("privacy.epsilon=null", "end_to_end needs epsilon; set privacy.epsilon"),
        ("privacy.owners=null", "end_to_end needs owners; set privacy.owners"),
        ("privacy.delta=1e-3", "is above a tenth of 1 / 5000 owners"),
        ("privacy.encoder_share=0.8", "leave nothing for the model"),
        ("model.name=timegan", "has no gradients by owner; use a model that has: multiscale, mlp_gan"),
        ("model.name=pca_gmm", "has no gradients by owner"),
        ("model.name=tts_gan", "has no gradients by owner"),
        ("objective.loss=relativistic", "compares with real series; use objective.loss=nonsaturating"),
        ("objective.moments=1", "set objective.moments=0"),
        ("objective.penalty.kind=interpolated", "use finite_difference or exact"),
        ("objective.penalty.fraction=0.25", "set objective.penalty.fraction=1"),
        ("data.scaling.bound=null", "e.g. data.scaling.bound=8"),
        ("data.scaling.transform=log1p", "data.scaling.unit is learned from the training series"),
        ("train.batch_size=5000", r"train.batch_size 5000 is not below privacy.owners 5000"),
        ("encoder.batch_size=6000", "encoder.batch_size 6000 is not below privacy.owners"),
        ("train.max_rollbacks=2", "set train.max_rollbacks=0"),
        ("sweep.space={train.batch_size: {choice: [16, 32]}}", "no ledger adds them up"),
        ("objective.features=1", "set objective.features=0"),
        ("train.select.score=fidelity", "leave train.select.score out"),
        ("engine.trackers=[wandb]", "may send losses"),
        ("engine.precision=bf16", "set engine.precision=fp32"),
        ("engine.zero=3", "set engine.zero=2"),
        ("engine.compile=true", "set engine.compile=false"),
        ("engine.checkpoint_activations=true", "set engine.checkpoint_activations=false"),
        ("bank.training=subset", "is not accounted under privacy.epsilon"),
        ("bank.by_label=true", "is not accounted under privacy.epsilon"),
        ("clusters.count=auto", "is not accounted under privacy.epsilon"),
        ("privacy.gradient_clip=0", "privacy.gradient_clip"),
    ],
)
def test_what_is_not_covered_is_refused(override: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        config.load(None, [*SOUND, override])
    assert "\n" not in str(caught.value)


def test_families_without_gradients_by_owner_are_refused() -> None:
    able = {name: family.private_network for name, family in config.FAMILIES.items() if family.by_owners}
    assert able == {
        "multiscale": "discriminator",
        "mlp_gan": "discriminator",
        "rectified_flow": "generator",
        "timevae": "generator",
    }


@pytest.mark.parametrize("name", ["rectified_flow", "timevae"])
def test_families_without_a_discriminator_need_no_settings_of_one(name: str) -> None:
    plain = [each for each in SOUND if not each.startswith("objective")]
    assert config.load(None, [*plain, f"model.name={name}"]).objective.loss == "relativistic"
    with pytest.raises(UserError, match=r"data\.scaling\.scope=series"):
        config.load(None, [*plain, f"model.name={name}", "data.scaling.scope=dataset"])


def test_the_plan_is_part_of_what_a_private_run_is() -> None:
    """With other numbers of steps the noise would be another: not even the first stage stays done."""
    one, more = (config.load(None, [*SOUND, f"train.steps={steps}"]) for steps in (1000, 2000))
    assert one.identities["prepare"] == more.identities["prepare"]
    assert one.identities["encoder"] != more.identities["encoder"]
    plain = [config.load(None, [f"train.steps={steps}"]).identity for steps in (1000, 2000)]
    assert plain[0] == plain[1]


@pytest.mark.parametrize("zero", [1, 2])
def test_moments_may_be_shared_out(zero: int) -> None:
    assert config.load(None, [*SOUND, f"engine.zero={zero}"]).engine.zero == zero


def test_public_weights_are_for_private_runs_and_count_in_their_identity() -> None:
    """Where the public run lies does not count, and runs of before the setting stay what they were."""
    plain, one, other = (
        config.load(None, [*SOUND, *more])
        for more in ([], ["privacy.public=runs/one"], ["privacy.public=runs/other"])
    )
    assert "public" not in plain.privacy.describe()
    assert one.identities == other.identities
    assert one.identities["encoder"] != plain.identities["encoder"]
    with pytest.raises(UserError, match=r"public is for end_to_end; set privacy\.end_to_end=true"):
        config.load(None, ["privacy.public=runs/one"])
