"""Month names of other languages than English, as `data.date_locale` names them.

A name or an abbreviation is a month if it begins the full name of exactly one month of the language: `févr.`,
`Dez`. What is no month stays as it is, so that a wrong language is refused with the stamp that does not fit.
"""

import re
import unicodedata
from functools import cache

from distgan.data.formats.time_patterns import MONTHS

LANGUAGES = {  # twelve names each, other forms after a bar; of two that fit, the first is suggested
    "de": "januar|janner|jaenner februar|feber marz|maerz|mrz april mai juni juli august september "
    "oktober november dezember",
    "fr": "janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre|setiembre octubre noviembre "
    "diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "nl": "januari februari maart|mrt april mei juni juli augustus september oktober november december",
    "pt": "janeiro fevereiro marco abril maio junho julho agosto setembro outubro novembro dezembro",
    "pl": "styczen|stycznia luty|lutego marzec|marca kwiecien|kwietnia maj|maja czerwiec|czerwca "
    "lipiec|lipca sierpien|sierpnia wrzesien|wrzesnia pazdziernik|pazdziernika listopad|listopada "
    "grudzien|grudnia",
    "sv": "januari februari mars april maj juni juli augusti september oktober november december",
    "da": "januar februar marts april maj juni juli august september oktober november december",
    "nb": "januar februar mars april mai juni juli august september oktober november desember",
    "fi": "tammikuuta helmikuuta maaliskuuta huhtikuuta toukokuuta kesakuuta heinakuuta elokuuta "
    "syyskuuta lokakuuta marraskuuta joulukuuta",
}
WORD = re.compile(r"[^\W\d_]{3,}\.?")
BETWEEN = re.compile(r"(?i)\b(de|del)\b")  # 5 de enero de 2013
LETTERS = str.maketrans({"ø": "o", "æ": "ae", "ł": "l", "ß": "ss"})


def _normalise(word: str) -> str:
    """Return a word in small letters without accents and point."""
    spread = unicodedata.normalize("NFKD", word.casefold().translate(LETTERS)).rstrip(".")
    return "".join(letter for letter in spread if not unicodedata.combining(letter))


@cache
def translate_month(word: str, language: str) -> str | None:
    """Return the English abbreviation of a month's name in a language; None for other words."""
    plain = _normalise(word)
    found = {
        month
        for month, forms in zip(MONTHS, LANGUAGES[language].split())
        if any(form.startswith(plain) for form in forms.split("|"))
    }
    return next(iter(found)) if len(found) == 1 else None


def to_english(texts: list[str], language: str) -> list[str]:
    """Return stamps with English month names for those of a language, all else as written."""
    return [
        WORD.sub(
            lambda word: translate_month(word[0], language) or word[0],
            BETWEEN.sub("", text) if language in ("es", "pt") else text,
        )
        for text in texts
    ]


def find_languages(texts: list[str]) -> list[str]:
    """Return the languages in which every stamp names a month that English does not, or the same month."""
    words = {word for text in texts for word in WORD.findall(text)}
    if not words or not all(re.search(r"\d", text) and WORD.search(text) for text in texts):
        return []
    fits = {
        language: {word: translate_month(word, language) for word in words}
        for language in LANGUAGES
        if all(translate_month(word, language) for word in words)
    }
    first = next(iter(fits.values()), None)
    return [language for language, found in fits.items() if found == first]
