"""The space of a sweep: its mistakes, when trials are scored, and which stages they share."""

from pathlib import Path
from typing import Any

import pytest

from distgan import config
from distgan.errors import UserError
from distgan.sweep import runner, scores, trial
from tests.helpers.sweeps import RATE, settings


@pytest.mark.parametrize(
    ("space", "chosen", "words"),
    [
        ({"train.generator_rat": {"choice": [1e-3]}}, {}, "did you mean 'train.generator_rate'"),
        ({"train.batch_size": {"randint": [0, 4]}}, {}, "train.batch_size is 0"),
        ({"train.batch_size": {"choice": [4, "many"]}}, {}, "'many'"),
        ({"encoder.heads": {"choice": [4, 3]}}, {}, "width 64 is not a multiple of heads 3"),
        ({"train.clip": {"uniform": [0, 1], "choice": [1.0]}}, {}, "choice and uniform given"),
        ({"train.clip": {}}, {}, "nothing given"),
        ({"train.clip": {"uniform": [1, 0]}}, {}, "uniform 1 to 0 is empty"),
        ({"train.clip": {"loguniform": [0, 1]}}, {}, "must begin above 0"),
        ({"train.clip": {"lognormal": [0, 1]}}, {}, "unknown key"),
        ({"train.steps": {"choice": [5, 6]}}, {}, "cannot be searched"),
        ({"evaluate.seed": {"choice": [5, 6]}}, {}, "cannot be searched"),
        ({"train.clip": {"choice": [1.0], "when": {"objective.los": ["hinge"]}}}, {}, "'objective.loss'"),
        (
            {"train.clip": {"choice": [1.0], "when": {"seed": [2]}}, "seed": {"choice": [1, 2]}},
            {},
            "`when` asks for 'seed', which stands after it",
        ),
        ({"train.clip": {"grid": [0.5, 1, 2]}}, {"trials": 4}, "multiple of the grid's 3 points; use 6"),
        ({"train.clip": {"grid": [0.5, 1]}}, {"searcher": "tpe"}, "a grid needs searcher random"),
        ({"model.patch": {"choice": [6, 12]}}, {"scheduler": "pbt"}, "model.patch must be of train or"),
        (RATE, {"objectives": ["fidelity", "tracing"]}, "follows one objective"),
        (RATE, {"searcher": "grid"}, "sweep.searcher is 'grid'"),
    ],
)
def test_a_mistaken_space_is_one_line(
    tmp_path: Path, space: dict[str, Any], chosen: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError) as mistake:
        settings(tmp_path, space, **chosen)
    assert words in str(mistake.value)
    assert "\n" not in str(mistake.value)


def test_a_search_that_would_draw_many_private_banks_is_refused(tmp_path: Path) -> None:
    for space, refused in (
        (RATE, ""),
        (
            {"train.clip": {"choice": [0.5, 1]}, "bank.condition_dim": {"choice": [1, 2]}},
            r"bank\.condition_dim",
        ),
        ({"privacy.clip": {"choice": [1.0, 2.0]}}, r"privacy\.clip"),
    ):
        plain = settings(tmp_path, space, confirm=0)
        made = plain.model_copy(update={"privacy": config.Privacy(epsilon=2.0)})
        runner.refuse_many_draws(plain, trial.list_shared_stages(plain))
        if refused:
            with pytest.raises(UserError, match=f"searches {refused}, on which the bank depends"):
                runner.refuse_many_draws(made, trial.list_shared_stages(made))
        else:
            runner.refuse_many_draws(made, trial.list_shared_stages(made))


def test_a_confirmation_that_would_draw_many_private_banks_is_refused(tmp_path: Path) -> None:
    plain = settings(tmp_path, RATE, confirm=2)
    runner.refuse_many_draws(plain, trial.list_shared_stages(plain))
    made = plain.model_copy(update={"privacy": config.Privacy(epsilon=2.0)})
    with pytest.raises(UserError, match=r"sweep\.confirm=\d+ trains again on so many fresh seeds"):
        runner.refuse_many_draws(made, trial.list_shared_stages(made))


def test_an_unknown_objective_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"'fidelty' is unknown; use one of fidelity, tracing, metrics\.NAME"):
        scores.check_objectives(["fidelty"], config.Evaluate())
    scores.check_objectives(["fidelity", "spectrum", "metrics.generator/loss"], config.Evaluate())


@pytest.mark.parametrize("name", ["discriminative", "discriminative_32", "predictive"])
def test_an_objective_that_is_not_evaluated_is_refused_at_once(name: str) -> None:
    with pytest.raises(UserError, match=rf"{name} needs evaluate\.recurrent_steps, e\.g\."):
        scores.check_objectives(["fidelity", name], config.Evaluate())
    scores.check_objectives(["fidelity", name], config.Evaluate(recurrent_steps=50))


def test_an_objective_of_a_network_that_is_not_trained_is_refused() -> None:
    chosen = config.Evaluate(recurrent_steps=50, backbones=("cnn",))
    scores.check_objectives(["predictive_cnn"], chosen)
    for name, needed in (("predictive", "gru"), ("discriminative_transformer", "transformer")):
        with pytest.raises(UserError, match=rf"evaluate\.backbones with {needed}, e\.g\."):
            scores.check_objectives([name], chosen)


def test_another_model_brings_its_own_keys(tmp_path: Path) -> None:
    space = {
        "model.name": {"choice": ["multiscale", "tts_gan"]},
        "model.dropout": {"uniform": [0.1, 0.4], "when": {"model.name": ["tts_gan"]}},
        "train.clip": {"choice": [0.0, 1.0]},
    }
    chosen = settings(tmp_path, space)
    drawn = {"model.name": "multiscale", "model.dropout": 0.2, "train.clip": 1.0}
    values = trial.select_active_values(drawn, chosen)
    assert values == {"model.name": "multiscale", "train.clip": 1.0}
    assert chosen.with_values(values).model == config.Multiscale()
    values = trial.select_active_values({**drawn, "model.name": "tts_gan"}, chosen)
    assert chosen.with_values(values).model == config.TtsGan(dropout=0.2)
    assert chosen.with_values(values).sweep == config.Sweep()


@pytest.mark.parametrize(
    ("chosen", "steps"),
    [
        ({"scheduler": "asha", "interval": 100}, [100, 300, 900]),
        ({"scheduler": "asha", "interval": 100, "reduction": 2}, [100, 200, 400, 800, 900]),
        ({"scheduler": "asha"}, [100, 300, 900]),
        ({"scheduler": "pbt", "interval": 250}, [250, 500, 750, 900]),
        ({"scheduler": "none"}, [900]),
        ({"scheduler": "none", "interval": 450}, [450, 900]),
        ({"scheduler": "asha", "interval": 1000}, [900]),
    ],
)
def test_when_trials_are_scored(tmp_path: Path, chosen: dict[str, Any], steps: list[int]) -> None:
    assert trial.list_evaluation_steps(settings(tmp_path, RATE, "train.steps=900", **chosen)) == steps


@pytest.mark.parametrize(
    ("key", "last"),
    [
        ("train.clip", "bank"),
        ("bank.min_members", "encode"),
        ("encoder.latent_dim", "prepare"),
        ("seed", None),
    ],
)
def test_stages_before_the_first_searched_key_are_shared(tmp_path: Path, key: str, last: str | None) -> None:
    shared = trial.list_shared_stages(settings(tmp_path, {key: {"choice": [16, 17]}}))
    assert (shared[-1] if shared else None) == last


def test_optuna_asks_only_for_keys_that_count(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    optuna = pytest.importorskip("optuna")
    from distgan.sweep import ray_backend

    space = {
        "objective.loss": {"choice": ["hinge", "lsgan"]},
        "train.clip": {"uniform": [0.5, 2.0], "when": {"objective.loss": ["lsgan"]}},
        "train.batch_size": {"randint": [4, 6]},
        "model.generator.scales": {"choice": [[{"ratio": 1, "depth": 1}], [{"ratio": 2, "depth": 2}]]},
    }
    chosen = settings(tmp_path, space)
    ask = optuna.trial.FixedTrial(
        {"objective.loss[]": 0, "train.batch_size": 6, "model.generator.scales[]": 1}
    )
    drawn = ray_backend.suggest_values(ask, chosen)
    assert drawn["objective.loss"] == "hinge" and drawn["train.batch_size"] == 6 and "train.clip" not in drawn
    assert chosen.with_values(drawn).model.generator.scales == (config.Scale(ratio=2, depth=2),)
