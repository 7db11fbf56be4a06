"""The torch engine: a driver process that computes completions with a model of ``transformers``.

Only ``engine`` may be imported without torch; the rest is imported by its loading thread.
"""
