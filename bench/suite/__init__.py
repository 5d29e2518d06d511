"""Benchmarks of the whole product on the laboratory's two hosts. Start at stand.py; bench/run runs them."""
