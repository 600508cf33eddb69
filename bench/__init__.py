"""Figures beside a bare server: ratios and CPU per call, never absolute times alone."""
