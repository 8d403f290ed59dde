"""Values that every layer speaks in: kinds, references, objects, evidence, findings, traces.

Frozen, without I/O and without knowledge of any other layer.
"""
