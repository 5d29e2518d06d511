"""Benchmarks on the laboratory's two Xen hosts, ours beside stock `xl remus`. Start at stand.py; bench/xen/run runs them."""
