"""Reads every import of a package without running it, and says which of them break the order of the floors."""

import ast
import graphlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Rules:
    """Who may import what; parts are the modules and packages right under the root package.

    `order` lists the parts from the ground up: a part imports only from parts before it, and from itself.
    `narrower` names parts that may import only from the modules given. `third_party` gives, for a distribution's top
    module, the only modules or packages that may import it. `late` lists pairs of importer and target that may stand inside
    a function, `dynamic` the modules that may load a module by a computed name.
    """

    order: Sequence[str]
    narrower: Mapping[str, Sequence[str]]
    third_party: Mapping[str, Sequence[str]]
    late: Sequence[tuple[str, str]]
    dynamic: Sequence[str]


@dataclass(frozen=True)
class Import:
    """One module named by an import statement, or `?` for a name computed at run time."""

    importer: str
    target: str
    line: int
    is_late: bool

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}, imports {self.target}"


def find_violations(package: Path, rules: Rules) -> list[str]:
    """Check one package's source tree against the rules; an empty list means that all of them hold."""
    modules = find_modules(package)
    imports = [one for module, path in sorted(modules.items()) for one in read_imports(module, path, modules)]
    root = package.name
    own = [one for one in imports if is_within(one.target, root)]
    foreign = [one for one in imports if one.target != "?" and not is_within(one.target, root)]
    return [
        *_unlisted_parts(modules, root, rules),
        *(f"{one}: not from a lower floor" for one in own if not _is_lower(one, root, rules)),
        *(f"{one}: only {', '.join(rules.third_party[top_of(one.target)])} may" for one in foreign if _is_misplaced(one, rules)),
        *(f"{one}: inside a function" for one in own if one.is_late and not _may_be_late(one, rules)),
        *(f"{one}: by a computed name" for one in imports if one.target == "?" and one.importer not in rules.dynamic),
        *_cycles([one for one in own if not one.is_late]),
    ]


def find_modules(package: Path) -> dict[str, Path]:
    """Map the dotted name of each module below a package to its file."""
    modules = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def read_imports(module: str, path: Path, modules: Mapping[str, Path]) -> Iterator[Import]:
    """Give every import of one module, wherever it stands: under TYPE_CHECKING, in a function, by importlib."""
    folder = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node, is_late in _walk(ast.parse(path.read_text(encoding="utf-8")), is_late=False):
        for target in _targets(node, folder, modules):
            yield Import(module, target, getattr(node, "lineno", 0), is_late)


def is_within(module: str, package: str) -> bool:
    """Say whether a module is the package or lies below it."""
    return module == package or module.startswith(f"{package}.")


def top_of(module: str) -> str:
    """Name the top module of a dotted name."""
    return module.partition(".")[0]


def _walk(node: ast.AST, *, is_late: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        yield child, is_late
        yield from _walk(child, is_late=is_late or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))


def _targets(node: ast.AST, folder: str, modules: Mapping[str, Path]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = folder.split(".")[: len(folder.split(".")) - node.level + 1] if node.level else []
        source = ".".join([*above, *([node.module] if node.module else [])])
        joined = (f"{source}.{alias.name}" for alias in node.names)
        # `from package import name` names a module only where there is one; otherwise it is a name inside the package.
        return sorted({name if name in modules else source for name in joined})
    if isinstance(node, ast.Call) and ast.unparse(node.func) in {"importlib.import_module", "import_module", "__import__"}:
        name = node.args[0] if node.args else None
        return [name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else "?"]
    return []


def _part_of(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def _unlisted_parts(modules: Mapping[str, Path], root: str, rules: Rules) -> list[str]:
    parts = sorted({_part_of(module) for module in modules} - {""})
    return [f"{root}.{part}: on no floor of the table" for part in parts if part not in rules.order]


def _is_lower(one: Import, root: str, rules: Rules) -> bool:
    importer, target = _part_of(one.importer), _part_of(one.target)
    if one.target == root or importer == target or (one.is_late and _may_be_late(one, rules)):
        return True
    if importer not in rules.order or target not in rules.order:
        return False
    if importer in rules.narrower:
        return any(is_within(one.target, f"{root}.{allowed}") for allowed in rules.narrower[importer])
    return rules.order.index(target) < rules.order.index(importer)


def _is_misplaced(one: Import, rules: Rules) -> bool:
    allowed = rules.third_party.get(top_of(one.target))
    return allowed is not None and not any(is_within(one.importer, place) for place in allowed)


def _may_be_late(one: Import, rules: Rules) -> bool:
    return any(is_within(one.importer, importer) and one.target == target for importer, target in rules.late)


def _cycles(imports: Sequence[Import]) -> list[str]:
    graph: dict[str, set[str]] = {}
    for one in imports:
        # Python runs a package's __init__ before any module in it, so that is imported as well.
        steps = one.target.split(".")
        loaded = {".".join(steps[:count]) for count in range(1, len(steps) + 1)}
        graph.setdefault(one.importer, set()).update(
            name for name in loaded if not is_within(one.importer, name) or name == one.target
        )
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [f"import cycle: {' <- '.join(error.args[1])}"]
    return []
