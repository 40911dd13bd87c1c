"""The rules, one subject to a module. Importing the package registers all of them: `RULES` is whole only from here."""

from importlib import import_module
from pkgutil import walk_packages

from tao_runtime.preflight.rule import RULES as RULES

for _module in walk_packages(__path__, f"{__name__}."):
    import_module(_module.name)
