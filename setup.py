"""Leaves the tests that live beside their benchmarks out of wheels; everything else is said in pyproject.toml."""

from setuptools import setup
from setuptools.command.build_py import build_py


class WithoutTests(build_py):
    """`exclude-package-data` speaks of data files only, so modules are left out here."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if not module[1].startswith("test_")]


setup(cmdclass={"build_py": WithoutTests})
