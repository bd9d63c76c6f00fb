"""Benchmarks. They print what they measure; no test depends on it."""
