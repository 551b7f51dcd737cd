"""The demonstration: a whole site in one folder, from certificates to a finished image.

``python -m demo`` is what ``make demo`` runs; the integration tests and the benchmarks make their sites with the same
modules, so that what newcomers see is what is tested.
"""
