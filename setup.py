"""Builds the Cython extensions; everything else is in pyproject.toml."""

import os
from pathlib import Path

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup

flags = os.environ.get("LLMOS_CFLAGS", "-O3").split()
sources = sorted(Path("ext").glob("*.pyx"))
options_of = {"extra_compile_args": flags, "include_dirs": [np.get_include()]}
extensions = [Extension(f"ext.{p.stem}", [str(p)], **options_of) for p in sources]
options = {"build_ext": {"parallel": os.cpu_count() or 1}}
setup(ext_modules=cythonize(extensions, language_level=3), options=options)
