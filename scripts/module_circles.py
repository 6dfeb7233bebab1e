#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Finds modules of Rust that need each other in a circle, below the folders that are named:

    scripts/module_circles.py [--known FILE] FOLDER...

Looked at are siblings: the modules of a crate, and those within a module. One depends on another if anything in it, or below
it, names anything in the other or below that, also by a name that a module above hands on with `pub use`. A module and what
it consists of may know each other, and `mod tests` anything.

FILE lists circles that are known, 'DATE FOLDER: MODULE...' a line: a circle of these modules, or of some of them, passes,
and one of them that is in no circle any more has to be taken off. Prints what is wrong, and fails if anything is.
"""

import os
import re
import sys

TOKEN = re.compile(
    r'//[^\n]*'
    r'|/\*.*?\*/'
    r'|r(?P<hashes>#*)".*?"(?P=hashes)'
    r'|b?"(?:\\.|[^"\\])*"'
    r"|b?'(?:\\.[^']*|[^'\\])'"
    r"|(?P<word>\$?[A-Za-z_]\w*)"
    r'|(?P<sign>::|[{}(),;=*]|\S)', re.S)


def tokens(text):
    """The words and signs of a file, without comments and literals."""
    found = []
    for match in TOKEN.finditer(text):
        if match['word'] or match['sign']:
            found.append(match['word'] or match['sign'])
    return found


class Module:
    """A module: its name, its parent, and what its text says."""

    def __init__(self, name, parent, file):
        self.name, self.parent, self.file = name, parent, file
        self.children = {}
        self.paths = []      # paths that the text names, as lists of words
        self.exports = {}    # names that a `use` brings in, with the path behind each
        self.outside = []    # names of `mod x;`
        if parent:
            parent.children[name] = self

    def top(self):
        return self.parent.top() if self.parent else self

    def read(self, words, at=0, braces=False):
        """Reads tokens from `at` to the closing brace, or to the end. Returns where it is then."""
        depth = 0
        while at < len(words):
            word = words[at]
            if word == '}':
                if depth == 0 and braces:
                    return at + 1
                depth -= 1
            elif word == '{':
                depth += 1
            elif word == 'mod' and words[at + 2:at + 3] == ['{']:
                at = Module(words[at + 1], self, self.file).read(words, at + 3, True)
                continue
            elif word == 'mod' and words[at + 2:at + 3] == [';']:
                self.outside.append(words[at + 1])
            elif word == 'use' and words[at - 1:at] != ['::']:
                at = self.tree(words, at + 1, [])
                continue
            elif words[at + 1:at + 2] == ['::'] and words[at - 1:at] != ['::']:
                path = [word]
                while words[at + 1:at + 2] == ['::'] and re.match(r'\w', words[at + 2:at + 3][0]):
                    path.append(words[at + 2])
                    at += 2
                self.paths.append(path)
            at += 1
        return at

    def tree(self, words, at, before):
        """Reads one tree of a `use`, behind the path `before`."""
        path = list(before)
        while at < len(words):
            word = words[at]
            if word == '{':
                at += 1
                while words[at] != '}':
                    at = self.tree(words, at, path) if words[at] != ',' else at + 1
                return at + 1
            if word == '*':
                self.paths.append(path)
                return at + 1
            if word in (',', ';', '}'):
                break
            if word == 'as':
                self.paths.append(path)
                self.exports[words[at + 1]] = path
                return at + 2
            if word != '::' and re.match(r'[\w$]', word):
                path.append(word)
            at += 1
        if path[-1:] == ['self'] and len(path) > 1:
            path.pop()
        if path:
            self.paths.append(path)
            self.exports.setdefault(path[-1], path)
        return at

    def find(self, path, hops=8):
        """The module that a path of this one leads to, or into; None if it leads out of the crate."""
        here, rest = self, list(path)
        first = rest.pop(0)
        if first in ('crate', '$crate'):
            here = self.top()
        elif first == 'self':
            pass
        elif first == 'super':
            here = self.parent
            while here and rest[:1] == ['super']:
                here, rest = here.parent, rest[1:]
        elif first in self.children:
            here = self.children[first]
        elif first in self.exports and self.exports[first] != path and hops:
            return self.find(self.exports[first] + rest, hops - 1)
        else:
            return None
        while here and rest:
            name = rest.pop(0)
            if name in here.children:
                here = here.children[name]
            elif name in here.exports and hops:
                # Handed on from elsewhere; or from another crate, and then it is this module that hands it on.
                return here.find(here.exports[name] + rest, hops - 1) or here
            else:
                break
        return here

    def every(self):
        yield self
        for child in self.children.values():
            yield from child.every()

    def line(self):
        """From the top of the crate down to this module."""
        return (self.parent.line() if self.parent else []) + [self]


def load(file, name, parent, files):
    module = Module(name, parent, file)
    with open(file, encoding='utf-8') as text:
        module.read(tokens(text.read()))
    for part in list(module.every()):
        for child in part.outside:
            path = file_of(part, child, files)
            if path:
                load(path, child, part, files)
    return module


def file_of(module, child, files):
    stem = os.path.splitext(module.file)[0]
    for path in (f'{stem}/{child}.rs', f'{stem}/{child}/mod.rs', f'{os.path.dirname(stem)}/{child}.rs'):
        if path in files:
            return path
    return None


def crates(folders):
    files = {os.path.join(at, name) for folder in folders for at, _, names in os.walk(folder)
             for name in names if name.endswith('.rs')}
    declared = set()
    for file in files:
        module = Module('', None, file)
        with open(file, encoding='utf-8') as text:
            module.read(tokens(text.read()))
        for part in module.every():
            declared.update(file_of(part, child, files) for child in part.outside)
    return [load(file, 'crate', None, files) for file in sorted(files - declared)]


def circles(parent):
    """The circles among the children of a module."""
    edges = {child: {} for child in parent.children.values()}
    for child in edges:
        for part in child.every():
            for path in part.paths if part.name != 'tests' else ():
                target = part.find(path)
                line = target.line() if target else []
                if parent in line[:-1]:
                    other = line[line.index(parent) + 1]
                    if other is not child:
                        edges[child].setdefault(other, f'{part.file} names {"::".join(path)}')

    def reach(start):
        seen, left = set(), [start]
        while left:
            for other in edges[left.pop()]:
                if other not in seen:
                    seen.add(other)
                    left.append(other)
        return seen

    reached = {child: reach(child) for child in edges}
    done = set()
    for child in edges:
        if child in reached[child] and child not in done:
            circle = {other for other in reached[child] if child in reached[other]}
            done |= circle
            if len({other.file for other in circle}) == 1:
                # Parts of one file, which is read as one.
                continue
            why = [f'    {one.name} needs {other.name}: {edges[one][other]}'
                   for one in edges for other in edges[one] if one in circle and other in circle]
            yield sorted(other.name for other in circle), why


def place(module):
    """The folder in which the children of a module lie."""
    stem = os.path.splitext(module.file)[0]
    return stem if module.parent and os.path.isdir(stem) else os.path.dirname(module.file)


def main(arguments):
    known = {}
    if arguments[:1] == ['--known']:
        with open(arguments[1], encoding='utf-8') as text:
            for entry in text:
                match = re.match(r'\d{4}-\d\d-\d\d (\S+): (.+)$', entry)
                if match:
                    known[match[1]] = set(match[2].split())
                elif entry.strip() and not entry.startswith('#'):
                    sys.exit(f'{arguments[1]}: not understood: {entry.strip()}')
        arguments = arguments[2:]
    wrong, seen = [], {folder: set() for folder in known}
    for crate in crates(arguments):
        for module in crate.every():
            for circle, why in circles(module):
                folder = place(module)
                if set(circle) <= known.get(folder, set()):
                    seen[folder].update(circle)
                else:
                    wrong += [f'{folder}: a circle of modules: {" ".join(circle)}', *why]
    for folder, names in known.items():
        for name in sorted(names - seen[folder]):
            wrong.append(f'{folder}: {name} is in no circle any more; take it off the list')
    for line in wrong:
        print(line)
    return bool(wrong)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
