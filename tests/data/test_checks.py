"""What is suspicious about values: found where it is, not where it is not, and gone after the advice."""

from pathlib import Path

import numpy as np
import pytest

from distgan import config
from distgan.data import ingest
from distgan.data.checks import series
from distgan.data.checks.survey import SAMPLE_VALUES, Survey
from distgan.data.checks.suspicions import SourceFacts, list_suspicions, mask_id, refuse_suspicions
from distgan.data.cleaning import difference_counters, mask_edge_zeros
from distgan.data.formats.understood import Understood
from distgan.data.store.metadata import Axis, Meta
from distgan.errors import UserError
from tests.helpers.suspicions import DAY, HOMES, HOURS, QUIET, look, serious


def test_honest_series_raise_no_suspicion(homes: np.ndarray) -> None:
    assert look(homes) == {}
    gaps = np.where(np.random.default_rng(1).random(homes.shape) < 0.03, np.nan, homes)
    assert look(gaps) == {}


# ----------------------------------------------------------------------------------- codes for missing values


@pytest.mark.parametrize(
    "code", [-9999, -999, -1, 9999, 65535, -99.9, 5555, 1e20, 9.99e37, 6553.5, -327.68, 655.35]
)
@pytest.mark.parametrize("where", ["spread", "an outage of one", "beside gaps"])
def test_codes_for_missing_values_are_errors_and_the_setting_takes_them(
    homes: np.ndarray, code: float, where: str
) -> None:
    rng = np.random.default_rng(0)
    if where == "an outage of one":
        homes[3, 100:130] = code
    else:
        homes[rng.random(homes.shape) < 0.01] = code
    if where == "beside gaps":
        homes[rng.random(homes.shape) < 0.05] = np.nan
    found = look(homes)
    assert found["sentinel"].severity == "error" and "negative" not in found
    setting = found["sentinel"].advice.removeprefix("set ")
    assert float(setting.split("[")[1].rstrip("]")) == np.float32(code)
    assert "sentinel" not in look(homes, setting) and not serious(look(homes, setting))


def test_codes_in_other_kinds_of_series(homes: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    counts = np.rint(homes * 200)
    counts[5, [7, 300, 301, 500]] = -1
    assert "[-1]" in look(counts)["sentinel"].advice
    counts[6, 10:12] = -9
    assert set(look(counts)["sentinel"].advice.split("[")[1].rstrip("]").split(",")) == {"-1", "-9"}
    warmth = 10 * np.sin(np.arange(HOURS) / 24) + rng.normal(0, 2, homes.shape)
    warmth[2, 50] = -999.9
    assert look(warmth)["sentinel"].advice == "set data.missing_values=[-999.9]"
    two = np.stack([homes, warmth], axis=2)
    assert "2 series" in look(np.concatenate([two, two[2:3]]))["sentinel"].text


def test_what_is_no_code(homes: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    frost = np.rint(4 + 4 * np.sin(np.arange(HOURS) / 40) + rng.normal(0, 1, homes.shape))
    frost[frost < -1] = -1  # whole degrees, of which the least is -1
    heater = np.where(rng.random(homes.shape) < 0.2, 9999, 0)  # on or off
    saturated = np.minimum(rng.gamma(1, 250, homes.shape), 999)
    tenths = np.minimum(rng.gamma(1, 2.5, homes.shape).round(2), 9.99)
    for values in (frost, heater, saturated, tenths):
        assert "sentinel" not in look(values)
    homes[4, 77] = 20 * homes[4].max()
    assert serious(look(homes)) == {"spikes"}


@pytest.mark.parametrize("codes", [[1], [1, 9], [1, 5], [2, 3, 7]])
def test_codes_behind_readings_are_no_decimals(homes: np.ndarray, codes: list[int]) -> None:
    rng = np.random.default_rng(0)
    whole = np.rint(homes * 100) - 20
    found = look(whole + np.where(whole < 0, -0.1, 0.1) * rng.choice(codes, homes.shape))
    assert found["attached_codes"].severity == "error"
    assert f"is {' or '.join(map(str, codes))} and never 0" in found["attached_codes"].text


@pytest.mark.parametrize("step", [0.1, 0.2, 0.5, 1])
@pytest.mark.parametrize("begin", [0, 0.5, 273.15])
def test_decimals_that_are_measured(homes: np.ndarray, step: float, begin: float) -> None:
    assert "attached_codes" not in look(np.rint(homes * 100 / step) * step + begin)
    assert "attached_codes" not in look(np.rint(homes * 3) + 0.1)  # too few different numbers


# ------------------------------------------------------------------------------- stuck, zeros, gaps, constant


def test_values_that_stand_for_days(homes: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    for begin, days in ((100, 10), (HOURS - 80, 3.3), (0, 4)):
        stuck = homes.copy()
        stuck[4, begin : begin + int(days * DAY)] = 0.317
        found = look(stuck)
        assert set(found) == {"stuck"} and found["stuck"].severity == "warning"
        assert "1 of 20 series" in found["stuck"].text and "series 5 " in found["stuck"].text
        stuck[rng.random(homes.shape) < 0.05] = np.nan  # some of them missing
        assert "stuck" in look(stuck)
    homes[4, 100:148] = 0.317  # two days
    assert look(homes) == {}


def test_stuck_channel_of_several(homes: np.ndarray) -> None:
    two = np.stack([homes, homes[::-1]], axis=2)
    two[7, 200:400, 1] = 0.5
    found = look(two)["stuck"]
    assert "(channel channel1)" in found.text and "channel0" not in found.text
    assert "days" in found.shared and "8.33" in found.text and "8.33" not in found.shared


@pytest.mark.parametrize("end", ["leading_zeros", "trailing_zeros"])
@pytest.mark.parametrize("gaps", ["none", "before", "among"])
def test_zeros_before_a_client_joined_or_after_it_left(homes: np.ndarray, end: str, gaps: str) -> None:
    rows = homes if end == "leading_zeros" else homes[:, ::-1]
    rows[:10, : 6 * DAY] = 0
    if gaps == "before":
        rows[:10, :30] = np.nan
    if gaps == "among":
        rows[:10, 20:60:5] = np.nan
    found = look(homes)
    assert set(found) == {end} and "10 of 20 series" in found[end].shared
    assert "edge_zeros=missing" in found[end].advice
    assert end not in look(homes, "data.edge_zeros=missing")


def test_zeros_that_are_usual_or_in_between(homes: np.ndarray) -> None:
    away = homes.copy()
    away[2, 200:400] = 0
    assert set(look(away)) == {"zero_runs"}
    rain = np.where(np.random.default_rng(0).random(homes.shape) < 0.01, homes, 0)
    assert serious(look(rain)) == set()


def test_edge_zeros_become_missing_and_nothing_else() -> None:
    values = np.array(
        [[0, 0, 0, 5, 0, 0, 0, 0, 1, 0, 0], [0, 2, 0, 0, 0, 3, 0, np.nan, 0, 0, np.nan]], np.float32
    )
    values = np.concatenate([values, np.zeros((1, 11), np.float32)])[..., None]
    mask_edge_zeros(values, 3)
    expected = [[0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], [1] * 11]
    assert (~np.isnan(values[..., 0])).astype(int).tolist() == expected


def test_late_starts_early_ends_and_flat_channels(homes: np.ndarray) -> None:
    homes[1, : 5 * DAY] = np.nan
    homes[2, -4 * DAY :] = np.nan
    homes[3] = 1.5
    found = look(homes)
    assert set(found) == {"late_start", "early_end", "constant"}
    assert all("1 of 20" in each.shared for each in found.values())
    assert "set data.start_ragged" in found["late_start"].advice
    found = look(homes, "data.start_ragged=0.3")  # which is not advised again
    assert "data.start_ragged=0.3 keeps those" in found["late_start"].advice
    assert "set data.start_ragged" not in found["early_end"].advice


# ------------------------------------------------------------------------------ thousands marks and registers


def as_misread(values: np.ndarray) -> np.ndarray:
    """Whole numbers from 1000 on as a reader gives them that takes the thousands mark for a decimal point."""
    return np.where(np.abs(values) >= 1000, values / 1000, values)


def test_thousands_marks_read_as_decimal_marks(homes: np.ndarray) -> None:
    watts = np.rint(homes * 600) + 1
    assert look(watts, "data.bounds.integer=true") == {}
    assert look(as_misread(watts))["thousands"].severity == "error"
    one = watts.copy()
    one[one >= 1000] = 999
    one[3, 40:60:7] = 1634  # three readings of one series
    assert "1 of 20" in look(as_misread(one))["thousands"].text
    assert "thousands" in look(as_misread(-watts))
    apart = np.concatenate([np.rint(200 + 50 * homes[:10]), np.rint(2000 + 500 * homes[10:])])
    assert "thousands" in look(as_misread(apart))  # no series has both kinds


def test_what_is_no_thousands_mark(homes: np.ndarray) -> None:
    percent = np.minimum(np.round(homes * 40 + 1, 3), 100)
    for values in (homes, np.round(homes * 300 + 1, 1), percent, np.round(homes * 100 + 1, 3)):
        assert "thousands" not in look(values)


@pytest.mark.parametrize("kind", ["plain", "resets", "gaps", "counts down", "daily"])
def test_registers_are_errors_and_differences_are_not(homes: np.ndarray, kind: str) -> None:
    register = homes.astype(np.float64).cumsum(axis=1)
    if kind == "resets":
        register = register % (register.max() / 3)
    if kind == "gaps":
        register[np.random.default_rng(0).random(homes.shape) < 0.05] = np.nan
    if kind == "counts down":
        register = register.max() - register
    if kind == "daily":
        register = homes.reshape(HOMES, -1, DAY).cumsum(axis=2).reshape(HOMES, HOURS)
    found = look(register)
    assert found["register"].severity == "error" and "20 of 20 series" in found["register"].text
    assert "register" not in look(register, "data.registers=difference")


def test_a_register_among_other_channels_is_to_be_left_out(homes: np.ndarray) -> None:
    """Since data.registers=difference takes the differences of all channels."""
    two = np.stack([homes.astype(np.float64).cumsum(axis=1), homes], axis=2)
    advice = look(two)["register"].advice
    assert "if all channels are counters" in advice and "data.columns.values=[channel1]" in advice


def test_a_channel_that_never_changes_is_to_be_left_out(homes: np.ndarray) -> None:
    """Instead of all series, as data.unusable=drop would."""
    advice = look(np.stack([homes, np.full_like(homes, 3)], axis=2))["constant"].advice
    assert advice == "set data.columns.values=[channel0]"


def test_difference_undoes_a_register(homes: np.ndarray) -> None:
    register = homes[..., None].astype(np.float64).cumsum(axis=1)
    register[:, 300:] -= register[:, 300:301]  # replaced by a new one that begins at zero
    found = difference_counters(register.astype(np.float32))
    assert np.isnan(found[:, [0, 300]]).all()
    rest = np.delete(np.arange(HOURS), [0, 300])
    np.testing.assert_allclose(found[:, rest, 0], homes[:, rest], atol=1e-3)


def test_difference_of_a_counter_that_counts_down(homes: np.ndarray) -> None:
    used = homes[..., None].astype(np.float64).cumsum(axis=1)
    found = difference_counters((used.max(axis=1, keepdims=True) - used).astype(np.float32))
    np.testing.assert_allclose(found[:, 1:, 0], homes[:, 1:], atol=1e-3)


def test_growth_with_falls_is_no_register(homes: np.ndarray) -> None:
    assert "register" not in look(np.cumsum(homes - 0.7 * homes.mean(axis=1, keepdims=True), axis=1) + 100)


# --------------------------------------------------------------------------------------- acceptance, privacy


def test_errors_are_refused_unless_they_are_accepted(homes: np.ndarray) -> None:
    homes[:, 100] = -9999
    homes[4, 200:500] = 0.3
    found = list(look(homes).values())
    with pytest.raises(
        UserError, match=r"sentinel: .*data\.missing_values=\[-9999\].*data\.accept=\[sentinel\]"
    ):
        refuse_suspicions(found, "homes.csv")
    accepted = look(homes, "data.accept=[sentinel]")
    refuse_suspicions(list(accepted.values()), "homes.csv")
    assert accepted["sentinel"].severity == "accepted" and accepted["stuck"].severity == "warning"
    with pytest.raises(UserError, match=r"'stcuk' is no suspicion.*stuck") as refused:
        config.load(None, ["data.accept=[stcuk]"])
    assert "\n" not in str(refused.value)
    same = config.load(None, ["data.accept=[stuck]"])
    assert same.identities == config.load().identities  # a run goes on when a suspicion is accepted


def test_no_id_stands_in_any_text_and_no_length_in_what_is_shared(homes: np.ndarray) -> None:
    homes[4, 200:437] = 0.123
    homes[5, : 5 * DAY] = 0
    homes[6, 300] = 777.77
    found = look(homes)
    assert {"stuck", "leading_zeros", "spikes"} <= set(found)
    for each in found.values():
        assert "private-4" not in each.text + each.shared + each.advice
        assert not {"0.123", "777.77", "9.88", "9.9 days"} & set(each.shared.split())
        assert "text" not in each.to_dict()
    for name in ("a", "ab", "H004", "a very long name of a place"):
        assert mask_id(name).rstrip("…") != name and len(mask_id(name)) <= 4


# ---------------------------------------------------------------------------------------------- the one pass


def test_blocks_do_not_matter_and_memory_is_bounded(homes: np.ndarray) -> None:
    homes[4, 200:437] = 0.123
    homes[::3, 50] = -9999
    homes[:6, : 4 * DAY] = 0
    first, second = look(homes, block=1), look(homes, block=100)
    assert first == second and len(first) == 3
    survey = Survey(Meta(Axis("2013-01-07T00:00:00", 3600, 4000, True), ("value",), "", {}, {}))
    rng = np.random.default_rng(0)
    every = [rng.gamma(2, size=(400, 4000, 1)).astype(np.float32) for _ in range(4)]
    for number, block in enumerate(every):
        survey.add(400 * number, block)
    channel = survey.channels[0]
    assert 0 < len(channel.sample) <= SAMPLE_VALUES and channel.measured == 4 * 400 * 4000
    values = np.concatenate(every)
    assert (channel.low, channel.high) == (values.min(), values.max())
    for share in (0.5, 0.999):
        assert channel.compute_quantile(share) == pytest.approx(np.quantile(values, share), rel=0.05)


def test_series_too_short_or_empty_to_say_anything() -> None:
    for shape in ((3, 2), (3, 5), (2, 30)):
        look(np.random.default_rng(0).random(shape))
        look(np.full(shape, np.nan))
    assert series.find_missing_codes(np.empty(0, np.float32)) == []
    assert series.find_runs(np.empty(0, np.float32)) == series.Runs(0, 0, 0, 0)
    assert series.find_register(np.arange(5.0)) is None


# --------------------------------------------------------------------------------------------- given examples

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"


@pytest.mark.skipif(not CASES.is_dir(), reason="the folder of small example inputs is not there")
@pytest.mark.parametrize(
    ("name", "names", "words"),
    [
        ("sentinel_-9999.csv", {"sentinel"}, "[-9999,-999]"),
        ("stuck_10_days.csv", {"stuck"}, "1 of 20 series"),
        ("b1_percent.csv", {"upper_limit"}, "data.bounds.upper=100"),
        ("LD2011_2014.txt", {"leading_zeros"}, "10 of 40 series"),
    ],
)
def test_examples_in_files(tmp_path: Path, name: str, names: set[str], words: str) -> None:
    settings = config.load(
        None, [*QUIET, f"data.source={CASES / name}", "data.unusable=drop", "data.accept=[periods]"]
    )
    found = ingest.open_source(settings.data, tmp_path, survey=True)
    assert found.survey is not None
    facts = SourceFacts(found.survey, found.source.meta, found.meta, settings, found.source.entities)
    suspicions = {each.name: each for each in list_suspicions(facts)}
    assert serious(suspicions) == names
    each = suspicions[next(iter(names))]
    assert words in each.text + each.advice


READERS = {"unwritten", "transposed", "substituted"}  # suspicions of readers


def test_names_of_suspicions_are_in_the_code() -> None:
    text = "".join(path.read_text() for path in Path(series.__file__).parent.glob("*.py"))
    assert {name for name in config.SUSPICIONS if f'"{name}"' not in text} == READERS


def test_the_thousands_mark_is_the_one_that_was_read_as_a_decimal_mark(homes: np.ndarray) -> None:
    values = as_misread(np.rint(homes * 600) + 1)[..., None].astype(np.float32)
    source = Meta(Axis("2013-01-07T00:00:00", 3600, HOURS, leap_days=True), ("value",), "", {}, {})
    survey = Survey(source)
    survey.add(0, values)
    understood = Understood(layout="wide", decimal=",")
    found = list_suspicions(
        SourceFacts(survey, source, source, config.load(None, [*QUIET]), ["a"] * HOMES, understood)
    )
    assert found[0].name == "thousands" and found[0].advice == "set data.thousands=','"
