"""Coverage-guided fuzzing of what reads bytes from outside; ``python -m fuzz.run`` runs it.

Each target is a module with ``fuzz_one(data)``, which raises for what must never be, and needs no fuzzer to be called.
"""
