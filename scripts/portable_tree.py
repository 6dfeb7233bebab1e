#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Makes the portable Rust tree: what Linux has below rust/, pruned and adapted so that it compiles against the headers
of kernels without Rust.

    portable_tree.py LINUX_SOURCE OVERLAY OUT

Each edit names itself and says what it expects to find; one that does not apply fails the run by its name, so that a
newer source cannot give a tree that is subtly wrong. OVERLAY (rust/portable/) has the files that are ours.
"""

import re
import shutil
import sys
from pathlib import Path

# Versions of the source that the edits were written for and tried with. Others are taken if every edit applies.
KNOWN = ("7.3",)

# What stays of the kernel crate; the rest of `pub mod` goes. Drivers here must write against these only.
KEPT = """alloc bits bug build_assert cred device error fmt fs init interrupt module module_param page prelude print
processor ptr safety sizes std_vendor str sync task time transmute types uaccess workqueue""".split()

FOLDERS = """build_error.rs compiler_builtins.rs ffi.rs bindgen_parameters bindings/lib.rs uapi/lib.rs kernel macros
pin-init/src pin-init/internal/src proc-macro2 quote syn zerocopy/src zerocopy-derive helpers""".split()


class EditError(Exception):
    pass


class Tree:
    """A folder whose files are edited, each edit checked."""

    def __init__(self, top):
        self.top = top

    def read(self, name):
        path = self.top / name
        if not path.exists():
            raise EditError(f"{name} is not there")
        return path.read_text()

    def write(self, name, text):
        (self.top / name).write_text(text)

    def replace(self, name, pattern, by, count=1):
        """Replaces a regular expression, which must occur exactly `count` times."""
        text, found = re.subn(pattern, by, self.read(name), flags=re.M)
        if found != count:
            raise EditError(f"{name}: {found} places match {pattern!r}, not {count}")
        self.write(name, text)

    def drop(self, name, start):
        """Drops one item: the line that matches `start`, the comments and attributes above, and its body in braces."""
        text = self.read(name)
        found = list(re.finditer(start, text, flags=re.M))
        if len(found) != 1:
            raise EditError(f"{name}: {len(found)} items match {start!r}, not 1")
        lines = text.splitlines(keepends=True)
        first = text.count("\n", 0, found[0].start())
        last, depth, opened = first, 0, False
        while True:
            code = re.sub(r"//.*", "", lines[last])
            depth += code.count("{") - code.count("}")
            opened = opened or "{" in code
            if (opened and depth == 0) or (not opened and code.rstrip().endswith(";")):
                break
            last += 1
            if last == len(lines):
                raise EditError(f"{name}: the item {start!r} has no end")
        while first > 0 and re.match(r"\s*(///|//|#\[)", lines[first - 1]):
            first -= 1
        self.write(name, "".join(lines[:first] + lines[last + 1 :]))


def prune_crate(tree):
    """kernel/lib.rs: only KEPT modules, and only their files."""
    text = tree.read("kernel/lib.rs")
    modules = re.findall(r"^(?:pub )?mod (\w+);", text, flags=re.M)
    missing = [name for name in KEPT if name not in modules]
    if missing:
        raise EditError(f"kernel/lib.rs has no module {', '.join(missing)}")
    for name in modules:
        if name in KEPT:
            continue
        text = re.sub(rf"(^#\[[^\n]*\]\n)*^(?:pub )?mod {name};\n", "", text, flags=re.M)
        shutil.rmtree(tree.top / "kernel" / name, ignore_errors=True)
        (tree.top / "kernel" / f"{name}.rs").unlink(missing_ok=True)
    tree.write("kernel/lib.rs", text)


def own_bindings(tree):
    """The generated bindings lie where the build says, not below the kernel's object tree."""
    tree.replace(
        "bindings/lib.rs",
        r'include!\(concat!\(\s*env!\("OBJTREE"\),\s*"/rust/bindings/(\w+\.rs)"\s*\)\);',
        r'include!(concat!(env!("RLIS_PORTABLE_OUT"), "/\1"));',
        2,
    )
    tree.replace(
        "uapi/lib.rs",
        r'include!\(concat!\(env!\("OBJTREE"\), "/rust/uapi/(\w+\.rs)"\)\);',
        r'include!(concat!(env!("RLIS_PORTABLE_OUT"), "/\1"));',
    )
    for name in ("bindings/lib.rs", "uapi/lib.rs"):
        tree.replace(name, r"^#!\[feature\(cfi_encoding\)\]\n", "")
    # They need the feature above.
    tree.replace("bindgen_parameters", r"^--with-attribute-custom-enum.*\n", "", 5)


def own_lines(tree):
    """Lines are formatted here instead of by vsprintf()'s %pA."""
    tree.drop("kernel/print.rs", r"^unsafe extern \"C\" fn rust_fmt_argument")
    tree.replace("kernel/print.rs", r'b"%pA\\0\\0\\0\\0\\0"', r'b"%s\\0\\0\\0\\0\\0\\0"')
    tree.replace("kernel/print.rs", r'b"%s: %pA\\0"', r'b"%s: %s\\0\\0"')
    tree.replace(
        "kernel/print.rs",
        r"core::ptr::from_ref\(&args\)\.cast::<c_void>\(\)",
        "line::Line::new(args).as_ptr()",
        2,
    )
    tree.replace("kernel/print.rs", r"^    ffi::\{c_char, c_void\},\n", "")
    tree.replace("kernel/print.rs", r"^    str::RawFormatter,\n", "")
    tree.replace("kernel/print.rs", r"^/// Format strings\.$", "pub(crate) mod line;\n\n/// Format strings.")


def no_namespaces(tree):
    """Tasks without their address space and process namespace: struct layouts that nothing here needs."""
    tree.replace("kernel/task.rs", r"^    mm::MmWithUser,\n", "")
    tree.replace("kernel/task.rs", r"^    pid_namespace::PidNamespace,\n", "")
    for name in ("get_pid_ns", "tgid_nr_ns", "mm", "active_pid_ns"):
        tree.drop("kernel/task.rs", rf"^    pub fn {name}\(")


def no_dma(tree):
    """User memory without DMA allocations."""
    tree.replace("kernel/uaccess.rs", r"^    dma::Coherent,\n", "")
    tree.drop("kernel/uaccess.rs", r"^    pub fn write_dma<")


def no_hrtimer_srcu(tree):
    """High-resolution timers and SRCU stand on C functions and fields of newer kernels."""
    tree.replace("kernel/time.rs", r"^pub mod hrtimer;\n", "")
    tree.replace("kernel/sync.rs", r"^pub mod srcu;\n", "")
    tree.replace("kernel/sync.rs", r"^pub use srcu::Srcu;\n", "")
    for name in ("time/hrtimer.rs", "sync/srcu.rs"):
        (tree.top / "kernel" / name).unlink()
    shutil.rmtree(tree.top / "kernel/time/hrtimer")


def irqsave_locks(tree):
    """SpinLockIrq saves the flags in its guard instead of counting how often interrupts were disabled."""
    name = "kernel/sync/lock/spinlock.rs"
    text = tree.read(name)
    start = text.find("unsafe impl Backend for SpinLockIrqBackend")
    if start < 0:
        raise EditError(f"{name}: no SpinLockIrqBackend")
    head, tail = text[:start], text[start:]
    edits = (
        (r"type GuardState = \(\);", "type GuardState = crate::ffi::c_ulong;"),
        (r"bindings::spin_lock_irq_disable\(ptr\)", "bindings::portable_spin_lock_irqsave(ptr)"),
        (
            r"bindings::spin_unlock_irq_enable\(ptr\)",
            "bindings::portable_spin_unlock_irqrestore(ptr, *guard_state)",
        ),
        (r"_guard_state: &Self::GuardState", "guard_state: &Self::GuardState"),
        (
            r"let result = unsafe \{ bindings::spin_trylock_irq_disable\(ptr\) \};",
            "let mut flags = 0;\n        // SAFETY: As above; `flags` is a local variable.\n"
            "        let result = unsafe { bindings::portable_spin_trylock_irqsave(ptr, &mut flags) };",
        ),
        (r"Some\(\(\)\)", "Some(flags)"),
    )
    for pattern, by in edits:
        tail, found = re.subn(pattern, by, tail, count=1)
        if found != 1:
            raise EditError(f"{name}: the irq lock has nothing that matches {pattern!r}")
    tests = re.search(r"^#\[kunit_tests\(\w+\)\]\nmod tests \{", tail, flags=re.M)
    if tests:
        tail = tail[: tests.start()]
    tree.write(name, head + tail)


def own_timer_init(tree):
    """A delayed work item's timer is set up by a helper, as the C function changed its name."""
    tree.replace("kernel/workqueue.rs", r"bindings::timer_init_key\(", "bindings::portable_init_timer(")


def own_kvrealloc(tree):
    """Memory of kmalloc() or vmalloc() grows by a helper that is told the old size, which older kernels want to know."""
    name = "kernel/alloc/allocator.rs"
    tree.replace(name, r"^    // INVARIANT: `kvrealloc_node_align`.*\n    const KVREALLOC:.*\n", "")
    tree.replace(name, r"ReallocFunc::KVREALLOC\.call\(", "super::kvrealloc::call(")
    tree.replace("kernel/alloc.rs", r"^pub mod allocator;$", "pub mod allocator;\nmod kvrealloc;")


def no_bottom_half_queues(tree):
    """Work queues in soft interrupts, which kernels before 6.9 do not have."""
    for name in ("system_bh", "system_bh_highpri"):
        tree.drop("kernel/workqueue.rs", rf"^pub fn {name}\(")


def own_errname(tree):
    """The names of errors, by a helper that does without them where the kernel does not export the function."""
    tree.replace("kernel/error.rs", r"bindings::errname\(", "bindings::portable_errname(")


def poll_without_box(tree):
    """Without the boxed PollCondVar, which frees itself by a struct that older kernels lack."""
    name = "kernel/sync/poll.rs"
    for start in (
        r"^pub struct PollCondVarBox \{",
        r"^struct PollCondVarBoxInner \{",
        r"^unsafe impl Send for PollCondVarBoxInner",
        r"^unsafe impl Sync for PollCondVarBoxInner",
        r"^impl PollCondVarBox \{",
        r"^impl Deref for PollCondVarBox \{",
        r"^impl Drop for PollCondVarBox \{",
    ):
        tree.drop(name, start)


EDITS = (
    prune_crate,
    own_bindings,
    own_lines,
    no_namespaces,
    no_dma,
    no_hrtimer_srcu,
    irqsave_locks,
    own_timer_init,
    own_kvrealloc,
    no_bottom_half_queues,
    own_errname,
    poll_without_box,
)


def version_of(source):
    makefile = (source / "Makefile").read_text()
    parts = [re.search(rf"^{key} *= *(\d+)", makefile, flags=re.M) for key in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
    return ".".join(part.group(1) for part in parts if part)


def copy(source, out):
    for name in FOLDERS:
        origin, target = source / "rust" / name, out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, target)
        else:
            shutil.copy(origin, target)


def main(source, overlay, out):
    version = version_of(source)
    if not any(version == known or version.startswith(known + ".") for known in KNOWN):
        print(f"note: the edits were written for Linux {', '.join(KNOWN)}; this source is {version}", file=sys.stderr)
    copy(source, out)
    tree = Tree(out)
    for edit in EDITS:
        try:
            edit(tree)
        except EditError as error:
            sys.exit(
                f"portable-tree: the edit '{edit.__name__}' does not apply to Linux {version}: {error}. "
                f"The edits are known for {', '.join(KNOWN)}; adapt scripts/portable_tree.py."
            )
    shutil.copytree(overlay, out, dirs_exist_ok=True)
    (out / "VERSION").write_text(f"{version}\n")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*(Path(argument) for argument in sys.argv[1:]))
