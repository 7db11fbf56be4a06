"""Builds the Cython extensions; everything else is in pyproject.toml."""

import os
import pathlib

from Cython.Build import cythonize
from setuptools import Extension, setup

FLAGS = os.environ.get("LLMOS_CFLAGS", "-O3").split()
sources = sorted(path.stem for path in pathlib.Path("ext").glob("*.pyx"))
extensions = [Extension(f"ext.{name}", [f"ext/{name}.pyx"], extra_compile_args=FLAGS) for name in sources]
setup(ext_modules=cythonize(extensions, language_level=3))
