"""The terms that a report uses, explained; a page links to each where it first occurs."""

import re

from markupsafe import Markup, escape

TERMS: dict[str, tuple[str, str]] = {  # key -> name, explanation
    "overall": (
        "overall score",
        "How far a set of series is from held-out real series, over all scores together, as a multiple "
        "of how far other real series are: the geometric mean over all scores (but those that look for "
        "copies) of the ratio of the two distances, each ratio between 1/10 and 10. A perfect generator "
        "gets about 1.",
    ),
    "interval": (
        "95 % interval",
        "The range that holds the true value in 95 of 100 repetitions with other owners. That of a score "
        "comes from 24 random halves of the held-out owners, the same halves for every row.",
    ),
    "verdicts": (
        "better, tie, worse",
        "A difference is called better or worse only where its whole 95 % interval is on one side of "
        "zero and it is 1 % or more. Everything else is a tie. Of 100 ties about 5 are called a "
        "difference by chance.",
    ),
    "held-out": (
        "held-out",
        "Real series of owners that were set aside before anything was fitted. No network and no "
        "baseline saw them.",
    ),
    "owner": (
        "owner, entity",
        "An owner is the person or place whose series are never parted between training and held-out "
        "series. An entity is what privacy counts: by default one series, one entity and one owner are "
        "the same.",
    ),
    "baseline": (
        "baseline",
        "A simple set of series to compare with: a score has a meaning only beside what trivial methods "
        "reach.",
    ),
    "copier": (
        "copier",
        "The training series themselves, unchanged. It shows which scores cannot tell copying from learning.",
    ),
    "pca": (
        "PCA+GMM",
        "A Gaussian mixture of principal components: a generator without a network that is fitted in "
        "seconds.",
    ),
    "se": (
        "±",
        "One standard error over the choice of series, at most: measured, it was 1.2 to 3 times the true "
        "error.",
    ),
    "c2st": (
        "classifier two-sample test",
        "A classifier is trained to tell a set from real series and tested on owners that it did not "
        "see. 0.5 is guessing: the sets cannot be distinguished. 1 is always right.",
    ),
    "utility": (
        "utility",
        "Whether a model that is trained on synthetic series works on real ones (train on synthetic, "
        "test on real).",
    ),
    "member": (
        "member, non-member",
        "A member is an owner whose series were trained on. A non-member was held out.",
    ),
    "membership": (
        "membership inference",
        "An attacker who knows somebody's series asks whether it was trained on.",
    ),
    "auc": (
        "AUC",
        "The chance that an attack ranks a random member above a random non-member: 0.5 is guessing, 1 "
        "is certain.",
    ),
    "copies": (
        "near copy",
        "A synthetic series that is far closer to a training series than unseen real series ever are.",
    ),
    "admd": (
        "after-diversity maximum demand",
        "The highest value of the sum of all series, divided by their number: what a shared line must "
        "carry for each.",
    ),
    "k": (
        "15 owners",
        "Where single real series may not be shown, a figure of real series needs at least 15 owners "
        "behind it and is rounded. So no figure is one person's.",
    ),
}

PATTERNS: dict[str, str] = {  # what is linked in running text, where it first occurs
    "interval": r"95 % interval",
    "held-out": r"held-out",
    "owner": r"owners?\b",
    "pca": r"PCA\+GMM",
    "copier": r"copier",
    "c2st": r"[Cc]lassifier two-sample test|[Cc]lassifier that is trained to tell",
    "utility": r"Utility",
    "member": r"members?\b",
    "membership": r"[Mm]embership inference",
    "auc": r"AUC",
    "copies": r"[Nn]ear cop(?:y|ies)",
    "admd": r"[Aa]fter-diversity maximum demand",
    "overall": r"overall score",
}
ANY = re.compile("|".join(f"(?P<{key.replace('-', '_')}>{pattern})" for key, pattern in PATTERNS.items()))


class Explainer:
    """A page's linker of terms to their explanations, each where it first occurs.

    Attributes:
        used: keys of `TERMS` that the page links to, in the order of the page.
    """

    def __init__(self) -> None:
        self.used: list[str] = []

    def __call__(self, text: str) -> Markup:
        """Return the text with the first occurrence of each term as a link; everything else is escaped."""
        parts, last = [], 0
        for found in ANY.finditer(text):
            key = str(found.lastgroup).replace("_", "-")
            if key in self.used:
                continue
            parts += [escape(text[last : found.start()]), self.link(key, found.group())]
            last = found.end()
        return Markup("").join([*parts, escape(text[last:])]).replace(" %", "\u00a0%")

    def link(self, key: str, text: str | None = None) -> Markup:
        """Return a term as a link where it first occurs, and as plain text after that."""
        name, meaning = TERMS[key]
        shown = name if text is None else text
        if key in self.used:
            return escape(shown)
        self.used.append(key)
        return Markup('<a class="term" href="#term-{}" title="{}">{}</a>').format(key, meaning, shown)
