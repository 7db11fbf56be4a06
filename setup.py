"""Builds the Cython extensions; everything else is in pyproject.toml."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

flags = os.environ.get("LLMOS_CFLAGS", "-O3").split()
sources = sorted(Path("ext").glob("*.pyx"))
extensions = [Extension(f"ext.{p.stem}", [str(p)], extra_compile_args=flags) for p in sources]
options = {"build_ext": {"parallel": os.cpu_count() or 1}}
setup(ext_modules=cythonize(extensions, language_level=3), options=options)
