"""How the embedded model is made: the corpus of its tasks, its tokenizer, training, evaluation.

The corpus (`grammar`, `tickets`, `translation`, `stories`, `formats`, `corpus`) is pure Python and
needs no torch, so that the examples can take held-out samples with their gold answers from it.
"""
