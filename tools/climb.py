"""Count how often parts of a recipe climb back: from a module to one that imports it, on the way through a run.

A recipe enters a run at ``pipeline.execute`` and should only go down, each function being given the section that it
needs. Two things carry it up again, and both are counted in every module that ``pipeline.execute`` imports, directly or
not, imports inside functions included:

- a call of another module's function whose return annotation names a class of ``x_instruction.config``: the caller gets
  a section back that the callee took from the recipe;
- a read of an attribute in which an object of another module keeps what it was handed (``plan.recipe``): the reader
  reaches into what it handed down. Fields of dataclasses are values that are made to be read, and do not count.

Loading a recipe from text is no climb, so calls into ``x_instruction.config`` itself do not count.

    python tools/climb.py            # the count
    python tools/climb.py --list     # every place
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent / "x_instruction"
PACKAGE = "x_instruction"
START = f"{PACKAGE}.pipeline.execute"
CONFIG = f"{PACKAGE}.config"


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = [PACKAGE, *path.relative_to(ROOT).with_suffix("").parts]
        found[".".join(part for part in parts if part != "__init__")] = ast.parse(path.read_text("utf-8"))
    return found


class Module:
    """The names of a module: what it defines, and what it imports.

    Args:
        imported: local name to module and name in it; the name is empty for a module.
        functions: name, or ``Class.method``, to its definition.
        kept: class to the attributes in which its constructor keeps a class of the configuration.
    """

    def __init__(self, name: str, tree: ast.Module, known: dict[str, ast.Module]) -> None:
        self.name = name
        self.tree = tree
        self.imported: dict[str, tuple[str, str]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    target = (whole, "") if whole in known else (node.module, alias.name)
                    self.imported[alias.asname or alias.name] = target
        self.config = {local for local, (module, name) in self.imported.items() if module.startswith(CONFIG) and name}
        self.functions: dict[str, ast.FunctionDef] = {}
        self.kept: dict[str, set[str]] = {}
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                self.functions[node.name] = node
            elif isinstance(node, ast.ClassDef):
                self.functions |= {f"{node.name}.{f.name}": f for f in node.body if isinstance(f, ast.FunctionDef)}
                self.kept[node.name] = set(self._attributes(node))

    def is_config(self, annotation: ast.expr | None) -> bool:
        """Whether an annotation names a class of the configuration."""
        return annotation is not None and any(
            isinstance(node, ast.Name) and node.id in self.config for node in ast.walk(annotation)
        )

    def _attributes(self, node: ast.ClassDef) -> Iterator[str]:
        for part in node.body:
            if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                given = {argument.arg for argument in part.args.args if self.is_config(argument.annotation)}
                for step in ast.walk(part):
                    if isinstance(step, ast.Assign) and isinstance(step.value, ast.Name) and step.value.id in given:
                        yield from (target.attr for target in step.targets if isinstance(target, ast.Attribute))


def reachable(all_modules: dict[str, Module]) -> list[Module]:
    """The modules that a run imports, in the order in which they are found."""
    found, left = [], [START]
    while left:
        name = left.pop()
        if name in all_modules and all_modules[name] not in found and not name.startswith(CONFIG):
            found.append(all_modules[name])
            left += [module for module, _ in all_modules[name].imported.values()]
    return found


def climbs(module: Module, all_modules: dict[str, Module]) -> Iterator[str]:
    """The places of a module at which part of a recipe comes back to it."""
    for where, function in module.functions.items():
        types = _types(module, function, all_modules)
        for node in ast.walk(function):
            if isinstance(node, ast.Call):
                called = _called(module, node, types, all_modules)
                if called is not None and called[0] is not module and called[0].is_config(called[1].returns):
                    yield f"{module.name}:{node.lineno} {where} gets a section from {called[0].name}.{called[1].name}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in types:
                owner, name = types[node.value.id]
                if owner is not module and node.attr in owner.kept.get(name, ()):
                    yield f"{module.name}:{node.lineno} {where} reads {name}.{node.attr} of {owner.name}"


def _types(module: Module, function: ast.FunctionDef, all_modules: dict[str, Module]) -> dict[str, tuple[Module, str]]:
    """Variables of a function whose class is known: annotated parameters, and names assigned from constructors."""
    found: dict[str, tuple[Module, str]] = {}
    for argument in [*function.args.args, *function.args.kwonlyargs]:
        for node in ast.walk(argument.annotation) if argument.annotation else ():
            if isinstance(node, ast.Name) and (known := _class(module, node.id, all_modules)):
                found[argument.arg] = known
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name):
            known = _class(module, node.value.func.id, all_modules)
            found |= {target.id: known for target in node.targets if isinstance(target, ast.Name) and known}
    return found


def _class(module: Module, name: str, all_modules: dict[str, Module]) -> tuple[Module, str] | None:
    owner, original = module.imported.get(name, (module.name, name))
    known = all_modules.get(owner)
    return (known, original) if known is not None and original in known.kept else None


def _called(
    module: Module, call: ast.Call, types: dict[str, tuple[Module, str]], all_modules: dict[str, Module]
) -> tuple[Module, ast.FunctionDef] | None:
    """The function of the package that a call runs, as far as names tell."""
    owner, name = module.name, ""
    if isinstance(call.func, ast.Name):
        owner, name = module.imported.get(call.func.id, (module.name, call.func.id))
    elif isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
        variable = call.func.value.id
        if variable in types:
            known, kind = types[variable]
            owner, name = known.name, f"{kind}.{call.func.attr}"
        elif variable in module.imported:
            owner, name = module.imported[variable][0], call.func.attr
    found = all_modules.get(owner)
    if found is None or name not in found.functions or owner.startswith(CONFIG):
        return None
    return found, found.functions[name]


def main() -> None:
    """Print the count, and with ``--list`` every place."""
    known = modules()
    all_modules = {name: Module(name, tree, known) for name, tree in known.items()}
    found = [place for module in reachable(all_modules) for place in climbs(module, all_modules)]
    if "--list" in sys.argv[1:]:
        print("\n".join(found))
    print(f"{len(found)} climbs")


if __name__ == "__main__":
    main()
