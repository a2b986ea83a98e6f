"""The ATMOS network: context encoder, frame encoder, transition and diffusion decoder.

Knows no OpenMM. Lengths are in angstrom, lags in ps, temperatures in kelvin.
"""
