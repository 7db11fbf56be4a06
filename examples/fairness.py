"""How many mistakes a check forgives: as many as chance gives a model that is good enough.

A model that is right in 95 of 100 cases is now and then wrong twice in twelve. A check that asked
for 95 % of twelve would fail it every second time, and say nothing about the model.
"""

from math import sqrt


def allowed_mistakes(count: int, share_right: float) -> int:
    """Return the most mistakes among ``count`` that are forgiven: the mean and two deviations.

    From a dozen on, a model with this share of right answers is within it in more than nine samples
    of ten; one that is wrong twice as often is mostly found out in two hundred.
    """
    wrong = 1 - share_right
    return int(count * wrong + 2 * sqrt(count * wrong * share_right))
