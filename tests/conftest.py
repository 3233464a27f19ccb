"""What holds for every test."""

from hypothesis import settings

# Timing belongs in bench/: a machine whose neighbours are busy must fail no test. Examples stay as many as they were.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
