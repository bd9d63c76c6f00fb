"""Benchmarks of single parts. Each compares variants in one run, so trust their ratios more than their figures."""
