"""What a comparison says and does not say, in sentences for people."""

from __future__ import annotations

from agent.comparison import Comparison
from agent.report.number_words import log10_lr, percent, times

#: What the number is, shorter than on the page of a report.
NOT_A_PROBABILITY = (
    "A likelihood ratio is not the probability that the device made the recording: odds before "
    "the comparison, multiplied by it, are the odds after."
)
#: Why a case must be like the validation.
OTHER_PLACES = (
    "Recordings that were all made in another place, or of another kind of sound, than the "
    "validation's have that in common, too: different devices then seem to be the same. Whether "
    "the case is like the validation is for the examiner to judge."
)

#: Why a validation with simulated recordings is not enough.
SIMULATED_ONLY = (
    "The validation is of simulated recordings alone: real rooms and devices differ from them in "
    "ways that nobody has measured here. For a case it must be done anew with real recordings like "
    "those of the case."
)


def propositions(comparison: Comparison) -> tuple[str, str]:
    """The two that are compared: the same device, and another one."""
    count = len(comparison.references)
    if comparison.enrolled is not None:
        known = comparison.enrolled
    elif count == 1:
        known = "the device that made the reference recording"
    else:
        known = f"the device that made the {count} reference recordings"
    return f"{known} made the questioned recording", "another device made it"


def meaning(comparison: Comparison) -> str:
    """The likelihood ratio in a sentence on the first and the second proposition."""
    value = comparison.log10_lr
    first, second = ("first", "second") if value >= 0 else ("second", "first")
    factor = times(abs(value))
    often = "as probable" if factor == "1.0" else f"{factor} times as probable"
    return f"the findings are about {often} under the {first} as under the {second}"


def bounds_words(comparison: Comparison) -> str:
    """What the validation supports, and whether it cut the value off."""
    bounds = comparison.bounds
    words = f"{log10_lr(bounds.lower)} to {log10_lr(bounds.upper)}"
    if comparison.limited:
        words += (
            f"; the score alone gives {log10_lr(comparison.unlimited_log10_lr)}, which was set to "
            "this limit"
        )
    return words


def figures_words(comparison: Comparison) -> str:
    """Cllr, minCllr and EER of the validation."""
    figures = comparison.figures
    return (
        f"Cllr {figures.cllr:.3f} (0 is perfect, 1 says nothing), minCllr {figures.min_cllr:.3f}, "
        f"EER {percent(figures.eer)}; {figures.n_same:,} trials with the same device, "
        f"{figures.n_different:,} with different ones"
    )


def score_words(comparison: Comparison) -> str:
    """What the score is."""
    if comparison.another_kind:
        return "cosine of the embeddings, less what recordings of other kinds have in common"
    return "cosine of the embeddings"


def comparison_limits(comparison: Comparison) -> tuple[str, ...]:
    """What this comparison may go beyond its validation in."""
    limits = [SIMULATED_ONLY if comparison.another_kind else OTHER_PLACES]
    count = len(comparison.references)
    if count > 1:
        limits.append(
            f"The validation compared one recording with one other; here {count} reference "
            "recordings are taken together."
        )
    return tuple(limits)
