"""Whether names are those of quantities of one entity (temperature, import, kitchen) or of entities.

Eight variables of one person must not count as eight owners. Names decide; what they leave open is refused.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distgan.data.formats.column_names import CHANNEL_NAME
from distgan.data.formats.crossed_names import (
    are_crossed,
    are_crossed_levels,
    find_parts_of_names,
    split_levels,
)
from distgan.data.formats.unit_columns import LETTERS, read_units_of_names

KINDS = {  # quantity -> words and pairs of words that name it
    "temperature": "t temp tmp temps temperature temperatur temperatura tavg tmin tmax tmean t2m dewpoint",
    "humidity": "humidity humid hum rh luftfeuchte feuchte luftfeuchtigkeit humedad humidite",
    "pressure": "pressure press pres luftdruck druck presion pression slp barometer",
    "wind": "wind eolien eolica windkraft windspeed windgeschwindigkeit viento vent wspd gust gusts windgust",
    "direction": "direction winddirection winddir wdir wd bearing",
    "rain": "rain rainfall precip precipitation prcp niederschlag lluvia pluie",
    "snow": "snow snowfall snowdepth",
    "cloud": "cloud clouds cloudcover cloudiness",
    "visibility": "visibility",
    "radiation": "radiation irradiance irradiation insolation ghi dni dhi sunshine uv uvi strahlung",
    "evaporation": "evapotranspiration evaporation",
    "co2": "co2",
    "air": "pm1 pm25 pm10 no2 nox so2 o3 voc tvoc ozone benzene dust iaq aqi",
    "sound": "noise sound loudness",
    "illuminance": "illuminance brightness lux luminosity",
    "motion": "motion occupancy presence",
    "voltage": "voltage volt volts spannung vrms",
    "current": "current amps amperage amperes intensity irms",
    "frequency": "frequency",
    "power factor": "powerfactor cosphi pf",
    "power": "power leistung potencia puissance watts",
    "energy": "energy energie energia",
    "load": "load demand consumption consumo consumed verbrauch verbraucht consommation verbruik usage use",
    "generation": "generation generated production erzeugung produccion produktion productie yield",
    "import": "import imports imported bezug bezogen afname withdrawal soutirage delivered forward",
    "export": "export exports exported einspeisung eingespeist injectie injection injecao lieferung "
    "teruglevering feedin received vertido excedentes excedente",
    "net": "net",
    "grid": "grid netz red",
    "battery": "battery soc batterie storage",
    "charge": "charge charging",
    "discharge": "discharge discharging",
    "price": "price preis precio prix prices",
    "cost": "cost costs revenue",
    "solar": "solar solaire pv photovoltaic photovoltaics photovoltaik",
    "hydro": "hydro hydropower wasserkraft hydraulique hidraulica",
    "nuclear": "nuclear nucleaire kernenergie",
    "coal": "coal charbon carbon lignite braunkohle steinkohle",
    "gas": "gas gaz erdgas ccgt ocgt",
    "oil": "oil fioul",
    "biomass": "biomass biomasse biogas bioenergies",
    "geothermal": "geothermal",
    "waste": "waste",
    "fridge": "fridge refrigerator freezer fridgefreezer",
    "dishwasher": "dishwasher",
    "washer": "washer washing washingmachine laundry clotheswasher",
    "dryer": "dryer tumbledryer clothesdryer",
    "cooking": "oven microwave kettle toaster stove cooker hob cooktop range",
    "media": "tv television computer monitor router",
    "heating": "heater heating boiler furnace heatpump radiator hotwater waterheater",
    "cooling": "hvac aircon airconditioner airconditioning cooling",
    "vehicle": "ev car charger electricvehicle",
    "lighting": "lights lighting light",
    "pump": "pump",
    "appliances": "appliances appliance submetering plugs outlets",
    "mains": "mains aggregate",
    "room": "kitchen bedroom bathroom livingroom garage basement attic hallway dining",
    "phase": "l1 l2 l3 phase1 phase2 phase3",
    "pulse": "hr heartrate pulse bpm",
    "oxygen": "spo2 sao2 oxygen do",
    "respiration": "resp respiration rr",
    "blood pressure": "sbp dbp abp nibp systolic diastolic",
    "glucose": "glucose cgm insulin",
    "biosignal": "ecg eeg emg ppg eda bvp gsr",
    "steps": "steps calories",
    "acceleration": "acc accel acceleration accelerometer",
    "rotation": "gyro gyroscope",
    "flow": "flow flowrate streamflow durchfluss",
    "level": "level waterlevel stage pegel depth",
    "turbidity": "turbidity",
    "acidity": "ph",
    "conductivity": "conductivity salinity",
    "nitrate": "nitrate ammonium phosphate chlorophyll",
    "speed": "speed rpm velocity",
    "torque": "torque",
    "vibration": "vibration",
    "sales": "sales customers orders transactions promo onpromotion",
    "register": "obis",
    "electricity": "electricity strom electricite electricidad elektriciteit",
    "water": "water wasser eau agua chilledwater",
    "heat": "heat warme steam",
}
PAIRS = {
    ("heart", "rate"): "heartrate",
    ("feed", "in"): "feedin",
    ("power", "factor"): "powerfactor",
    ("heat", "pump"): "heatpump",
    ("water", "heater"): "waterheater",
    ("hot", "water"): "hotwater",
    ("living", "room"): "livingroom",
    ("air", "conditioner"): "aircon",
    ("air", "conditioning"): "aircon",
    ("dew", "point"): "dewpoint",
    ("sub", "metering"): "submetering",
    ("washing", "machine"): "washer",
    ("dish", "washer"): "dishwasher",
    ("electric", "vehicle"): "ev",
    ("wind", "direction"): "winddirection",
    ("wind", "dir"): "winddirection",
    ("wind", "speed"): "windspeed",
    ("wind", "gust"): "gust",
    ("pm2", "5"): "pm25",
    ("snow", "depth"): "snow",
    ("off", "peak"): "offpeak",
}
ASPECTS = {  # words that say which of a quantity; alone they say as much
    *(
        "min",
        "max",
        "mean",
        "avg",
        "average",
        "median",
        "std",
        "minimum",
        "maximum",
        "mittel",
        "sum",
        "state",
    ),
    *("actual", "forecast", "prevision", "predicted", "apparent", "reactive", "active", "real"),
    *("onshore", "offshore", "state"),
    *("x", "y", "z", "phase"),
    *("day", "night", "dag", "nacht", "peak", "offpeak"),
    *("inside", "outside", "indoor", "outdoor", "in", "out", "room"),
}
BESIDE = {  # words that say nothing of whose a quantity is
    *("total", "all", "air", "ambient", "relative", "global", "surface", "sea", "msl", "rate", "cumulative"),
    *("value", "values", "reading", "readings", "measurement", "data", "of", "the", "area", "point", "ahead"),
    *("estimated", "inc", "incl", "tax", "vat", "p", "surplus", "direkt", "gesamt", "aus", "ins"),
    *("electric", "electrical", "fossil", "hard", "brown", "pumped", "other", "hg"),
    *("c", "f", "k", "kwh", "wh", "mwh", "gwh", "kw", "w", "mw", "v", "a", "hz", "pa", "hpa", "kpa", "mbar"),
    *("bar", "pct", "percent", "ms", "kmh", "kph", "mph", "mm", "cm", "m", "ppm", "ppb", "deg"),
}
OF_A_HOME = {
    *(
        "appliances",
        "room",
        "fridge",
        "dishwasher",
        "washer",
        "dryer",
        "cooking",
        "media",
        "heating",
        "cooling",
    ),
    *("vehicle", "lighting", "pump"),
}
PRICES = {"open", "high", "low", "close", "volume", "adj close", "adjclose", "adj_close", "turnover"}
EXACT = {  # names that are quantities only as a whole
    **dict.fromkeys(("ta", "tair", "tout", "tin", "td", "tdew"), "temperature"),
    **dict.fromkeys(("p", "pa", "p0", "qnh"), "pressure"),
    **dict.fromkeys(("u", "v", "u10", "v10", "wv", "ff", "fx"), "wind"),
}
REGISTERS = (  # all names of the registers of one meter: NEM, OBIS, the Netherlands, Belgium, France, Ausgrid
    r"[EBQK]\d",
    r"E|B",
    r"\+?A\+?|-?A-?|[+-]|R[1-4Q]?[+-]?",
    r"\d+-\d+:\d+\.\d+\.\d+(\*\d+)?|\d\.\d{1,2}\.\d(\*\d+)?",
    r"H[PC][HB]?|BASE|HPE|HCE",
    r"GC|GG|CL",
)
REGISTER_UNIT = r"^obis[ _:]+|\s*[(\[][kmg]?(wh?|varh?|vah?)[)\]]$|[ _][kmg]?(wh?|varh?|vah?)$"
WORDS = {word: kind for kind, words in KINDS.items() for word in words.split()}
LEAD = r"I{1,3}|aV[RLF]|V\d|MLI{1,3}|MCL1|ECG\d?|ABP|PPG|RESP|PLETH"  # of an electrocardiogram
ELECTRODE = r"(Fp|AF|F|FC|FT|C|CP|T|TP|P|PO|O|A|M)(z|\d{1,2})"  # of an electroencephalogram, 10-20 system
TELLING_ELECTRODE = r"(Fp|AF|FC|FT|CP|TP|PO).*|.*z"  # that is no usual id
PERCENTILE = r"(?:p|q|quantile|percentile|perc)_?(\d{1,2})"
UNIT_KINDS = (  # of a name that says no more than its unit
    (r"(?i)°\s?[cfk]|deg\.?\s?[cfk]", "temperature"),
    (r"(?i)[kmgt]?(wh?|va|var|vah|varh|jh?)", "load"),
    (r"(?i)[km]?v", "voltage"),
    (r"(?i)m?a", "current"),
    (r"(?i)hz", "frequency"),
    (r"(?i)[hkm]?pa|m?bar", "pressure"),
    (r"%", "share"),
    (r"(?i)m/s|km/h|mph", "speed"),
    (r"(?i)deg(rees?)?|°", "angle"),
    (r"(?i)w/m[2²]", "radiation"),
    (r"(?i)(eur|usd|gbp|[€$£])/[km]wh", "price"),
)
BRACKETS = re.compile(r"\s*[(\[][^()\[\]]*[)\]]\s*$")  # at the end of a name
HEIGHT = re.compile(r"\d+c?m")  # of a sensor: 2m, 10m
OTHER_FORM = 0.9  # share of names of one form that are alike
MOST_COLUMNS = 256  # of one entity


@dataclass(frozen=True)
class Name:
    """A name as words: the quantity that it names (None: none), and what else it says, as whose it is."""

    kind: str | None
    rest: tuple[str, ...] = ()


def parse_name(name: str, unit: str = "") -> Name:
    """Return the quantity that a name and its unit state, and the other words."""
    whole = EXACT.get(name.strip().lower())
    if whole is not None and not (unit and len(name) == 1):
        return Name(whole)
    words = _split_words(name)
    kinds = [WORDS[word] + (f" {word}" if word not in KINDS else "") for word in words if word in WORDS]
    if OF_A_HOME & {WORDS.get(word) for word in words}:  # numbered within a home
        kinds += [word for word in words if word.isdigit()]
        words = [word for word in words if not word.isdigit()]
    aspects = [word for word in words if word in ASPECTS]
    rest = tuple(
        word
        for word in words
        if word not in WORDS and word not in ASPECTS and word not in BESIDE and not HEIGHT.fullmatch(word)
    )
    if kinds:
        return Name(" ".join(sorted({*kinds, *aspects})), rest)
    stated = _find_kind_of_unit(unit)
    if stated is not None:
        return Name(stated, tuple(words) if stated == "load" else rest)
    return Name(" ".join(aspects), rest) if aspects and not rest else Name(None, tuple(words))


def _find_kind_of_unit(unit: str) -> str | None:
    """Return the quantity that a unit is of."""
    return next((kind for form, kind in UNIT_KINDS if unit and re.fullmatch(form, unit)), None)


def _split_words(name: str) -> list[str]:
    """Return the words of a name in small letters; numbers at their ends are words of their own, as in
    temp2, unless the word is known with them, as co2 is.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", plain).lower()
    found: list[str] = []
    for word in re.findall(r"[a-z0-9]+", plain):
        if word in WORDS or word in ASPECTS or HEIGHT.fullmatch(word):
            found.append(word)
        else:
            found += re.findall(r"[a-z]+|\d+", word)
    joined: list[str] = []
    for word in found:
        if joined and (joined[-1], word) in PAIRS:
            joined[-1] = PAIRS[joined[-1], word]
        else:
            joined.append(word)
    return joined


def judge_names(names: Sequence[str], units: Mapping[str, str] | None = None) -> str:
    """Return what names of columns, or cells of a column of names, are: "channels" of one entity, "entities",
    "mixed" where they say several quantities of several entities or of some names alone, or "beside" where
    some few stand beside entities, as a temperature beside homes.
    """
    if len(names) < 2:
        return "entities"
    if levels := split_levels(names):
        if are_crossed_levels(levels):
            return "mixed"
        return judge_names(list(dict.fromkeys(map(" ".join, levels))), None)
    if are_quantities_of_entities(names):
        return "mixed"
    if len(names) > MOST_COLUMNS:
        return "entities"
    prices = {name.strip().lower() for name in names} <= PRICES and len(names) > 2
    if prices or _are_registers(names) or _are_numbered_channels(names) or _are_of_one_signal(names):
        return "channels"
    if all(len(name.strip()) == 1 for name in names) or len(_find_stems(names)) == 1:
        return "entities"  # letters, or names with numbers
    bracketed = read_units_of_names(names)
    written = [unit or (units or {}).get(name, "") for name, unit in zip(names, bracketed)]
    dimensions = [_find_kind_of_unit(unit) for unit in written]
    if None not in dimensions and len({*dimensions}) > 2:
        return "channels"
    bare = [BRACKETS.sub("", name) if unit else name for name, unit in zip(names, bracketed)]
    parsed = [parse_name(name, unit) for name, unit in zip(bare, written)]
    known = [each for each in parsed if each.kind is not None]
    if wholes := _count_wholes(names):
        return "mixed" if wholes > 1 else "channels"
    if not known:
        return "entities"
    plain = {each.kind for each in known if not each.rest}
    common = len({each.rest for each in known}) == 1
    kinds = {each.kind for each in known}
    most = len(known) >= 0.5 * len(names)
    if most and (len(plain) > 1 or (common and len(kinds) > 1)):
        return "channels"
    if len(kinds) > 1 and (most or len(plain) > 1):
        return "mixed"
    others = [name for name, each in zip(names, parsed) if each.kind is None]
    return "beside" if plain and len(others) > 2 and are_alike(others) else "entities"


def _count_wholes(names: Sequence[str]) -> int:
    """Return how many names stand beside their own quantities, as Site 1 beside Site 1 IN and Site 1 OUT,
    where these are all names.
    """
    found = find_parts_of_names(names)
    parts = [part for each in found.values() for part in each]
    whole = len(found) + len(parts) == len(names)
    return len(found) if whole and all(parse_name(part).kind is not None for part in parts) else 0


def list_quantities(names: Sequence[str]) -> list[str]:
    """Return the names that say a quantity and nothing of whose it is."""
    parsed = [(name, parse_name(name)) for name in names]
    return [name for name, each in parsed if each.kind is not None and not each.rest]


def _are_registers(names: Sequence[str]) -> bool:
    """Return whether all names are codes of registers of one meter, of which the letters or parts differ; a
    unit may stand behind each.
    """
    codes = [re.sub(REGISTER_UNIT, "", name.strip(), flags=re.I).upper() for name in names]
    for form in REGISTERS:
        if all(re.fullmatch(form, code, re.I) for code in codes):
            return len({code[:1] if form.startswith("[EBQK]") else code for code in codes}) > 1
    return False


def _are_of_one_signal(names: Sequence[str]) -> bool:
    """Return whether names are axes, percentiles, or the leads of an electrocardio- or encephalogram."""
    plain = [name.strip() for name in names]
    if {name.lower() for name in plain} in ({"x", "y"}, {"x", "y", "z"}):
        return True
    percents = [re.fullmatch(PERCENTILE, name, re.I) for name in plain]
    numbers = {int(match[1]) for match in percents if match}
    if len(numbers) == len(plain) > 2 and 50 in numbers and numbers == {100 - number for number in numbers}:
        return True
    if all(re.fullmatch(LEAD, name, re.I) for name in plain):
        return any(not re.fullmatch(r"V\d", name, re.I) for name in plain)
    electrodes = all(re.fullmatch(ELECTRODE, name, re.I) for name in plain)
    return electrodes and any(re.fullmatch(TELLING_ELECTRODE, name, re.I) for name in plain)


def _find_stems(names: Sequence[str]) -> set[str]:
    """Return the different names without the numbers at their ends."""
    return {re.sub(r"[\W_]*\d+$", "", name.strip()).lower() for name in names}


def _are_numbered_channels(names: Sequence[str]) -> bool:
    """Return whether names are channel_1, channel_2, …, or L1, L2, L3."""
    stems = _find_stems(names)
    if len(stems) != 1:
        return False
    stem = next(iter(stems))
    phases = sorted(name.upper() for name in names) == ["L1", "L2", "L3"]
    return phases or (bool(stem) and CHANNEL_NAME.fullmatch(stem) is not None)


def are_alike(names: Sequence[str]) -> bool:
    """Return whether names differ by numbers or letters of a code alone, as ids of like meters do."""
    forms = Counter(_find_form(name) for name in names)
    return max(forms.values()) >= OTHER_FORM * len(names)


def are_quantities_of_entities(names: Sequence[str]) -> bool:
    """Return whether each name says an entity by its number and one of several quantities: h1_in, h1_out."""
    return are_crossed(names, _are_entities_and_quantities)


def _are_entities_and_quantities(entities: Sequence[str], parts: Sequence[str]) -> bool:
    """Return whether parts of names are of entities, which differ by numbers alone and are no phases or
    rooms, and of quantities: words that differ, registers, units, or prices of shares.
    """
    if not are_alike(entities) or parse_name(entities[0]).kind is not None:
        return False
    of_a_home = all((parse_name(part).kind or "").split(" ")[0] in OF_A_HOME for part in parts)
    if of_a_home and all(entity.isdigit() for entity in entities):
        return False  # fridge 1, fridge 2
    if _are_registers(parts) or {part.strip().lower() for part in parts} <= PRICES:
        return True
    if all(_find_kind_of_unit(part) or part in LETTERS for part in parts):
        return True
    return not are_alike(parts) and not any(re.search(r"\d", part) for part in parts)


def _find_form(name: str) -> str:
    if re.fullmatch(r"(?=.*\d)[0-9a-fA-F-]{6,}", name):
        return "0"  # a number in hexadecimal
    found = re.sub(r"\d+", "0", name.strip())
    return re.sub(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])", "A", found)
