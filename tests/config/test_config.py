"""The tree of settings: strict, inherited, overridden, documented, and read by the code."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from distgan import config
from distgan.config.bounds import round_down, round_up
from distgan.config.loading import find_config, list_shipped
from distgan.config.validation import RENAMED_KEYS
from distgan.errors import UserError
from tests.helpers.processes import PATIENCE
from tests.helpers.settings import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_loads(path: Path) -> None:
    assert config.load(path).identity


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.step=3", ["unknown key 'train.step'", "did you mean 'train.steps'"]),
        ("trian.steps=3", ["unknown key 'trian'", "'train'"]),
        ("model.generator.widht=3", ["model.generator.widht", "did you mean 'model.generator.width'"]),
        ("train.steps=many", ["train.steps", "'many'", "whole number"]),
        ("train.steps=0", ["train.steps", "0", "at least 1"]),
        ("train.generator_rate=.nan", ["train.generator_rate", ".nan"]),
        ("model.name=stylegan", ["model.name", "stylegan", "multiscale, cascade"]),
        ("data.splits.train=0.9", ["data.splits", "1.2", "sum to 1"]),
        ("encoder.width=30", ["width 30", "heads 4", "use 32"]),
        ("bank.condition_dim=20", ["condition_dim 20", "latent_dim 16"]),
        ("engine.precision=fp8", ["engine.precision", "fp8", "fp32"]),
        ("data=3", ["data", "3"]),
        ("nonsense", ["nonsense", "key.sub=value"]),
    ],
)
def test_a_mistake_is_one_line_with_key_value_and_rule(override: str, words: list[str]) -> None:
    with pytest.raises(UserError) as mistake:
        config.load(None, [override])
    message = str(mistake.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_wgan_without_a_penalty_is_refused() -> None:
    with pytest.raises(UserError, match="needs objective"):
        config.load(None, ["objective.loss=wgangp", "objective.penalty.kind=none"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 1\nseed: 2\n", "is given already in line 1"),
        ("a: &x 1\nb: *x\n", "anchors"),
        ("data: {[a]: 1}\n", "line 1: a key must be one word"),
        (f"seed: {10**20}\n", "seed is 1"),
        ("- 1\n", "reads as"),
        ("seed: [1\n", "line"),
        ("base: nowhere.yaml\n", "there is no config"),
        ("base: mine.yaml\n", "circle"),
        ("seed: yes\n", "seed is 'yes'"),
    ],
)
def test_yaml_mistakes_name_the_place(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        config.load(path)


def test_stars_and_ampersands_in_comments_and_quotes_are_no_anchors(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("# this is *important*\ndata: {units: 'm/s &c'}\n")
    assert config.load(path).data.units == "m/s &c"


def test_numbers_read_as_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("seed: 0123\ntrain: {generator_rate: 1e-4, discriminator_rate: 2.5E-4}\nrun_dir: 12:30\n")
    settings = config.load(path)
    assert (settings.seed, settings.train.generator_rate, settings.train.discriminator_rate) == (
        123,
        1e-4,
        2.5e-4,
    )
    assert settings.run_dir == "12:30"


def test_a_key_by_its_older_name_is_refused_with_the_present_one(tmp_path: Path) -> None:
    for older, newer in RENAMED_KEYS.items():
        value = "0.1" if older.startswith("data") else "[-1, 1]"
        with pytest.raises(UserError, match=f"{older} is now called {newer}"):
            config.load(None, [f"{older}={value}"])
        (tmp_path / "mine.yaml").write_text(older.replace(".", ": {") + f": {value}" + "}" * older.count("."))
        with pytest.raises(UserError, match=f"mine.yaml: {older} is now called {newer}"):
            config.load(tmp_path / "mine.yaml")


def test_the_older_name_of_the_lower_bound_means_the_new_one(tmp_path: Path) -> None:
    base, mine = tmp_path / "base.yaml", tmp_path / "mine.yaml"
    base.write_text("data: {bounds: {lower: 0, upper: 9}}\n")
    mine.write_text("base: base.yaml\ndata: {scaling: {lower_bound: 2}}\n")
    assert config.load(mine).data.bounds == config.Bounds(lower=2, upper=9)
    assert config.load(mine, ["data.scaling.lower_bound=null"]).data.bounds.lower is None
    assert config.load(mine, ["data.bounds.lower=1"]).data.bounds.lower == 1
    assert config.load(None, ["data.scaling.lower_bound=0"]).data.bounds.lower == 0
    mine.write_text("data: {scaling: {lower_bound: 0}, bounds: {lower: 0}}\n")
    assert config.load(mine).data.bounds.lower == 0
    mine.write_text("data: {scaling: {lower_bound: 0}, bounds: {lower: 1}}\n")
    with pytest.raises(UserError, match="two names of one setting and differ"):
        config.load(mine)
    with pytest.raises(UserError, match="no whole number lies between"):
        config.load(None, ["data.bounds={lower: 0.2, upper: 0.8, integer: true}"])


def test_a_wrong_override_is_named_and_not_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("train: {steps: 10}\nseed: 3\n")

    def explain(*overrides: str) -> str:
        with pytest.raises(UserError) as error:
            config.load(path, overrides)
        return str(error.value)

    assert explain("seed=4", "train.steps=abc").startswith("override train.steps=abc: train.steps is 'abc'")
    assert explain("train.stepz=2").startswith("override train.stepz=2: unknown key")
    shares = ("data.splits.train=0.9", "data.splits.held_out=0.5")
    assert explain(*shares).startswith(f"overrides {' '.join(shares)}: data.splits")
    many = ("seed=4", "model=timegan", *(f"encoder.steps={n}" for n in range(1, 7)), "train.steps=6")
    assert explain(*many).startswith("overrides model=timegan train.steps=6: train.steps 6 leaves no")
    path.write_text("train: {steps: abc}\n")
    assert explain("seed=4").startswith(f"{path}: train.steps is 'abc'")
    assert config.load(path, ["train.steps=5"]).train.steps == 5


def test_base_file_override_in_that_order(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("seed: 1\ntrain: {steps: 10, batch_size: 4}\n")
    (tmp_path / "mine.yaml").write_text("base: base.yaml\ntrain: {steps: 20}\n")
    settings = config.load(tmp_path / "mine.yaml", ["train.batch_size=8"])
    assert (settings.seed, settings.train.steps, settings.train.batch_size) == (1, 20, 8)


def test_naming_another_model_replaces_the_section(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("model: {name: multiscale, patch: 12, generator: {width: 64}}\n")
    (tmp_path / "mine.yaml").write_text("base: base.yaml\nmodel: {name: tts_gan_fork}\n")
    assert config.load(tmp_path / "mine.yaml").model == config.TtsGanFork()


def test_naming_the_default_model_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("model: {patch: 12}\n")
    (tmp_path / "mine.yaml").write_text("base: base.yaml\nmodel: multiscale\n")
    named = [config.load(tmp_path / "mine.yaml"), config.load(tmp_path / "base.yaml", ["model=multiscale"])]
    named.append(config.load(None, ["model.patch=12", "model.name=multiscale"]))
    assert all(settings.model == config.Multiscale(patch=12) for settings in named)
    assert config.load(tmp_path / "base.yaml", ["model=tts_gan_fork"]).model == config.TtsGanFork()


def test_a_model_may_be_named_by_its_name_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model: tts_gan\n")
    assert config.load(tmp_path / "mine.yaml").model == config.TtsGan()
    chosen = config.load(tmp_path / "mine.yaml", ["model=mlp_gan", "model.width=8"]).model
    assert chosen == config.MlpGan(width=8)
    with pytest.raises(UserError, match="'stylegan' is not known"):
        config.load(None, ["model=stylegan"])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model=timegan", "objective.loss=hinge"], "timegan has losses of its own"),
        (["model=nr_gan", "objective.augment.jitter=0.1"], "nr_gan does not augment"),
        (["model=crnn_gan", "objective.loss=wgangp-mode"], "no mode-seeking term; use objective.loss=wgangp"),
        (["model=timevae", "objective.augment.jitter=0.1"], "timevae does not augment"),
        (["model=rectified_flow", "objective.loss=hinge"], "rectified_flow has losses of its own"),
        (["model=timegan", "objective.moments=1"], "timegan has a generator's loss of its own"),
        (["model.generator.noise_lags=[0]"], "a lag of noise_lags has 1 step or more"),
        (["objective.penalty.fraction=0.7"], "use 1/n, such as 1"),
        (["model=crnn_gan", "engine.zero=1", "engine.precision=bf16"], "crnn_gan computes in float32"),
        (["model.discriminator.periods=[0]"], "a period has 2 steps or more"),
        (["model.discriminator.spectra=[2]"], "a window of spectra 4"),
    ],
)
def test_what_a_game_would_not_heed_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        config.load(None, ["train.steps=20000", *overrides])
    assert config.load(None, ["objective.penalty.fraction=0.33"]).objective.penalty.fraction == 0.33


def test_a_schedule_that_leaves_no_game_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"after the 4000 .* lower model.embedding_steps or model.supervised_steps$"
    ):
        config.load(None, ["model=timegan", "train.steps=100"])


def test_the_saved_copy_is_the_config(tmp_path: Path) -> None:
    settings = config.load(None, ["model.name=tts_gan_fork", "train.steps=7"])
    (tmp_path / "config.yaml").write_text(settings.to_yaml())
    assert config.load(tmp_path / "config.yaml") == settings


def test_identity_is_what_is_learned_not_how_long_or_where() -> None:
    identity = config.load().identity
    for same in (
        "train.steps=3",
        "engine.threads=1",
        "generate.count=3",
        "run_dir=elsewhere",
        "data.credit=Somebody, CC BY 4.0",
    ):
        assert config.load(None, [same]).identity == identity
        assert not config.is_fixed(same.partition("=")[0])
    for other in (
        "seed=1",
        "data.reduce.factor=4",
        "model.patch=12",
        "train.batch_size=8",
        "encoder.steps=9",
    ):
        assert config.load(None, [other]).identity != identity
        assert config.is_fixed(other.partition("=")[0])


def test_a_stage_depends_on_its_own_sections_and_those_before() -> None:
    before, after = config.load().identities, config.load(None, ["clusters.count=3"]).identities
    assert [stage for stage in config.STAGES if before[stage] != after[stage]] == list(config.STAGES[3:])
    sections = {section for sections in config.DEPENDS.values() for section in sections}
    assert sections | {"run_dir", "engine", "generate", "evaluate", "release", "sweep"} == set(
        config.Config.model_fields
    )


AXIS = "data.axis={start: 2013-01-01, step: 30min, length: 48}"


def test_a_given_axis_is_part_of_what_a_run_is_and_none_changes_no_run() -> None:
    found, given = config.load(), config.load(None, [AXIS])
    assert given.identities["prepare"] != found.identities["prepare"]
    assert given.data.axis.start == "2013-01-01T00:00:00" and given.data.axis.step_seconds == 1800
    assert found.identities["prepare"] == "5289e73a0b19de53"  # as before there was this setting
    config.load(None, [AXIS, "data.resample.step=1800s"])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["data.axis.start=2013-01-01"], "and step and length are not set; set all three, or none"),
        (["data.axis={start: 2013-01-01, length: 9}"], "and step is not set"),
        (["data.axis.start=2013-02-30"], "'2013-02-30' is no time of an axis; write e.g. 2013-01-01"),
        (["data.axis.start=2013-01-01T00:00Z"], "without an offset from UTC"),
        (["data.axis.start=2013"], "'2013' is no time of an axis"),
        (["data.axis.step=1w"], "step '1w' is no length of time; write 30min, 1h or 1d"),
        (["data.axis.length=1"], "must be at least 2"),
        (["data.axis={start: 2013-01-01, step: 9999d, length: 9999}"], "end after the year 9999"),
        ([AXIS, "data.resample.step=1h"], "resample.step 1h and axis.step 30min differ"),
    ],
)
def test_an_axis_that_is_none_is_refused_in_one_line(wrong: list[str], words: str) -> None:
    with pytest.raises(UserError) as error:
        config.load(None, wrong)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_stated_bounds_are_never_on_the_wrong_side() -> None:
    for value, stated in ((0.6233, "0.63"), (0.62, "0.62"), (0.62001, "0.63"), (0.65, "0.65")):
        assert round_up(value, 2) == stated
    assert round_up(100 * 0.15, 0) == "15" and round_up(100 * 0.1501, 0) == "16"
    assert [round_down(value) for value in (1.7e-4, 1e-4, 9.99e-7)] == ["1e-04", "1e-04", "9e-07"]


def test_the_reference_page_is_current() -> None:
    assert (ROOT / "configs" / "REFERENCE.md").read_text() == config.format_reference()


def test_every_key_is_read_by_the_code() -> None:
    """A key that no line outside config/ looks at changes nothing (the upstream fork has 45 of those)."""
    read = {
        node.attr
        for path in (ROOT / "distgan").rglob("*.py")
        if path.name != "config.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    keys = {name.replace("[]", "").rsplit(".", 1)[-1] for name, *_ in config.iterate_reference()}
    assert keys - read == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--config", "nowhere.yaml"],
        ["train.stepz=1"],
        ["model=stylegan"],
        ["model=crnn_gan", "model.widht=1"],
        ["model=timegan", "train.steps=100"],
    ],
)
def test_help_and_config_errors_load_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
from distgan.train import main
try:
    code = main({arguments!r})
except SystemExit as end:
    code = end.code
heavy = {{"torch", "deepspeed", "pandas", "zarr", "faiss", "accelerate"}} & set(sys.modules)
sys.exit(99 if heavy else code)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE
    )
    assert done.returncode == (0 if arguments == ["--help"] else 2), done.stderr
    assert "Traceback" not in done.stderr


def test_a_config_comes_back_from_json() -> None:
    settings = config.load(overrides=["data.columns.values=[a, b]", "data.missing_values=[-9999, '?']"])
    assert config.Config.model_validate_json(settings.model_dump_json()) == settings


def test_a_shipped_config_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config.load("demo").identity == config.load(ROOT / "configs" / "demo.yaml").identity
    assert "data/uk_dale" in list_shipped() and find_config(Path("data/uk_dale")).is_file()
    with pytest.raises(UserError, match=r"there is no config demos; did you mean demo\?"):
        config.load("demos")
    with pytest.raises(UserError, match=r"there is no config xyz; the shipped ones are .*demo, [^/]*$"):
        config.load("xyz")
    (tmp_path / "demo").write_text("seed: 7\n")  # a file of that name comes first
    assert config.load("demo").seed == 7


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("data.source=", "data.source is null; it must be text"),
        ("train.steps=true", "train.steps is true; it must be a whole number"),
        ("seed=1e3", "seed is 1000.0; it must be a whole number; write 1000"),
        ("train=5", "train is 5; it must be a section, {key: value}"),
        ("bank.by=ev", "bank.by is 'ev'; it must be a list, e.g. [ev]"),
        ("bank.by=[ev, null]", "bank.by[1] is null; it must be text"),
        ("data.units=5", "data.units is 5; it must be text; write it in quotes: \"'5'\""),
        ("engine.compile=yes", "engine.compile is 'yes'; it must be true or false or 'auto'"),
        ("engine.gather_penalty=no", "engine.gather_penalty is 'no'; it must be true or false; write false"),
        ("clusters.count=[foo]", "clusters.count is ['foo']; it must be a whole number or 'auto'"),
        ("train.generator_rate=0", "train.generator_rate is 0; it must be above 0"),
        ("privacy.log_rms_range=[1]", "privacy.log_rms_range is [1]; it needs another value"),
        ("privacy.categories=[a]", "privacy.categories is ['a']; it must be a map, {key: value}"),
        ("model.generator.scales=[]", "model.generator.scales is []; it needs this many values or more: 1"),
        (
            "model.generator.scales=[{depth: 1}]",
            "model.generator.scales[0].ratio is missing, and it has no default",
        ),
        ("data.bounds.lower=-1e400", "data.bounds.lower is -inf; it must be a finite number"),
    ],
)
def test_wrong_values_are_told_in_the_words_of_a_config(override: str, line: str) -> None:
    with pytest.raises(UserError) as mistake:
        config.load(None, [override])
    assert str(mistake.value) == f"override {override}: {line}"


def test_a_file_that_is_no_yaml_names_its_line(tmp_path: Path) -> None:
    place = tmp_path / "bad.yaml"
    place.write_text("data:\n  source: homes.csv\n train: {steps: 5}\n")
    with pytest.raises(UserError, match=r"bad.yaml: line 3, column 2: this is no YAML \(.*\); check inden"):
        config.load(place)
    place.write_text("just words")
    with pytest.raises(UserError, match="lines; this reads as 'just words'"):
        config.load(place)


def test_an_absent_base_is_told_with_the_file_that_names_it(tmp_path: Path) -> None:
    place = tmp_path / "mine.yaml"
    place.write_text("base: basse.yaml\n")
    with pytest.raises(UserError) as mistake:
        config.load(place)
    assert str(mistake.value).startswith(
        f"{place}: base: there is no config {tmp_path / 'basse.yaml'}; did you mean base"
    )


def test_no_run_folder_is_called_by_the_sign_of_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that stands in a folder of this name is read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    words = "run_dir ~/runs: ~ is not read as the home folder here; write /home/ann/runs"
    with pytest.raises(UserError, match=words):
        config.load(None, ["run_dir=~/runs"])
    (tmp_path / "~/runs").mkdir(parents=True)
    assert config.load(None, ["run_dir=~/runs"]).run_dir == "~/runs"
    assert config.load(None, ["run_dir=~runs"]).run_dir == "~runs"


def test_a_list_in_a_csv_is_refused_with_the_setting_that_allows_it() -> None:
    with pytest.raises(
        UserError, match=r"since a CSV has no lists; set generate.format=parquet, or use layout"
    ):
        config.load(None, ["generate.layout=list", "generate.format=csv"])
    config.load(None, ["generate.layout=list", "generate.format=parquet"])
