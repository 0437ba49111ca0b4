"""The card says what the Hub understands."""

import pytest

from manifests.card import size_category

WORDS = ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B"]
WORDS += ["10B<n<100B", "100B<n<1T", "n>1T"]  # as in the Hub's dataset card specification


@pytest.mark.parametrize(("power", "word"), list(enumerate(WORDS[1:], 3)))
def test_every_size_has_the_hub_s_word(power, word):
    assert size_category(0) == WORDS[0]
    assert size_category(10**power - 1) == WORDS[power - 3]
    assert size_category(10**power) == word
    assert size_category(10**15) == WORDS[-1]
