"""Traffic, the third truth: what access logs and ``curl -v`` tell of requests that were really sent.

Lines of any format become ``Line`` values (``formats``), those of one request are joined over all proxies on
its way (``join``), and each request is explained (``explain``): who wrote the status, what the flags and
details say, and what the declared objects say of it. Nothing here does I/O.
"""
