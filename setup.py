"""Build of the extensions: every .pyx under clstm/, and the C kernels under src/, once for each instruction set.

Everything else about the package stands in pyproject.toml. Switches: CLSTM_NO_OPENMP=1 builds for one thread,
CLSTM_PORTABLE_ONLY=1 without vector kernels, CLSTM_SANITIZE=address,undefined (or thread) with the compiler's checks of
memory and undefined behaviour. CC, CFLAGS, CPPFLAGS and LDFLAGS count as usual; a build with other ones starts again.
Nothing is ever compiled for the building machine's own processor: which kernels run is decided at import.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

# The extensions that link the kernels: the table of dispatch.c and what it holds.
KERNEL_USERS = {"clstm._core.vector.runtime"}

# Each instruction set: its flags, and a line of C that needs it. src/kernels.c is compiled for each, once a real type.
REALS = ("F32", "F64")
INSTRUCTION_SETS = {
    "avx2": (
        ["-mavx2", "-mfma"],
        "#include <immintrin.h>\n__m256 f(__m256 a) { return _mm256_fmadd_ps(a, a, a); }",
    ),
    "avx512": (
        ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx512cd", "-mfma", "-mprefer-vector-width=512"],
        "#include <immintrin.h>\n__m512 f(__m512 a) { return _mm512_fmadd_ps(a, a, a); }",
    ),
    "neon": (
        [],
        "#include <arm_neon.h>\nfloat64x2_t f(float64x2_t a) { return vfmaq_f64(a, a, a); }",
    ),
}
OPENMP_PROBE = "#include <omp.h>\nint f(void) { return omp_get_max_threads(); }"
OPENMP_FLAGS = [  # compiler's, linker's
    (["-fopenmp"], ["-fopenmp"]),
    (["-Xpreprocessor", "-fopenmp"], ["-lomp"]),  # Apple's clang
]

SOURCES = Path("src")
C_FLAGS = ["-g0", "-fno-math-errno", "-fvisibility=hidden"]
KERNEL_FLAGS = ["-O3", *C_FLAGS, "-std=gnu11", "-ffp-contract=fast"]
LINK_FLAGS = ["-Wl,-s", "-Wl,--as-needed"] if sys.platform.startswith("linux") else []
# These modules have no loops over elements that count: optimising them takes long and gains nothing measurable.
GLUE = (
    "clstm._core._dense",
    "clstm._core._openmp",
    "clstm._core.portable.blas",
    "clstm._core.portable.pack",
    "clstm._core.portable.steps",
    "clstm._core.vector.",
)
SANITIZERS = ("address", "undefined", "thread")
SANITIZER_FLAGS = ["-O1", "-g1", "-fno-omit-frame-pointer"]  # line numbers only: gcc takes minutes for variables
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
}


def processors():
    """Return how many processors this process may use."""
    if hasattr(os, "process_cpu_count"):
        return os.process_cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sanitizer():
    """Return the compiler's flag for the sanitizers that CLSTM_SANITIZE names, None without."""
    text = os.environ.get("CLSTM_SANITIZE", "").strip()
    names = {name.strip() for name in text.split(",")}
    if not text:
        return None
    if not names <= set(SANITIZERS) or {"address", "thread"} <= names:
        sys.exit(
            f"CLSTM_SANITIZE is {text!r}, expected address, undefined or both of them, or thread, or thread,undefined"
        )
    return "-fsanitize=" + ",".join(sorted(names))


class BuildExt(build_ext):
    """Looks what the compiler can do, then translates and compiles everything at the same time."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or processors()
        self.sanitizer = sanitizer()

    def build_extensions(self):
        """Compile the kernels while Cython translates, and each extension as soon as it is translated."""
        self.check_extensions_list(self.extensions)
        unix = self.compiler.compiler_type != "msvc"
        kernels = self._find_kernels() if unix else {}
        openmp = self._find_openmp() if unix else (["/openmp"], [])
        self._clear_if_changed(self._configuration(kernels, openmp))
        macros = [(f"CLSTM_HAVE_{name.upper()}", "1") for name in kernels]
        with ThreadPoolExecutor(self.parallel) as pool:
            try:
                objects = self._submit_kernels(pool, kernels, macros, unix) if self.extensions else []
                built = []
                # Large ones first, so that the last to be compiled are small; those that link the kernels come last.
                for extension in sorted(self.extensions, key=lambda one: (one.name in KERNEL_USERS, -size_of(one))):
                    self._translate(extension)
                    self._set_flags(extension, macros, openmp, unix)
                    if extension.name in KERNEL_USERS:
                        extension.extra_objects = [one.result() for one in objects]
                        extension.depends = [*extension.depends, *extension.extra_objects]
                    built.append(pool.submit(self.build_extension, extension))
                for one in built:
                    one.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _translate(self, extension):
        """Replace the Cython source of an extension by the C that Cython makes of it, unless that is up to date."""
        from Cython.Build import cythonize

        (translated,) = cythonize([extension], compiler_directives=DIRECTIVES, build_dir="build", force=self.force)
        extension.sources = translated.sources

    def _set_flags(self, extension, macros, openmp, unix):
        from numpy import get_include

        optimise = "-O1" if extension.name.startswith(GLUE) else "-O3"
        extension.include_dirs = [get_include(), str(SOURCES)]
        extension.define_macros = [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"), *macros]
        extension.extra_compile_args = [*(self._unix_flags([optimise, *C_FLAGS]) if unix else ["/O2"]), *openmp[0]]
        extension.extra_link_args = [*(self._link_flags() if unix else []), *openmp[1]]

    def _unix_flags(self, flags):
        """Return the flags with those of the sanitizers, which come last and so decide."""
        return [*flags, *SANITIZER_FLAGS, self.sanitizer] if self.sanitizer else flags

    def _link_flags(self):
        return [self.sanitizer] if self.sanitizer else LINK_FLAGS

    def _configuration(self, kernels, openmp):
        """Return what decides how a file is compiled: the commands, which have CC and CFLAGS in them, and our flags."""
        commands = [getattr(self.compiler, name, None) for name in ("compiler_so", "linker_so")]
        return repr(
            (self.compiler.compiler_type, commands, kernels, openmp, self.sanitizer, C_FLAGS, KERNEL_FLAGS, GLUE)
        )

    def _find_kernels(self):
        """Return the instruction sets that the compiler can produce, with their flags."""
        if os.environ.get("CLSTM_PORTABLE_ONLY", "0") != "0":
            print("clstm: built without vector kernels (CLSTM_PORTABLE_ONLY)")
            return {}
        found = {name: flags for name, (flags, code) in INSTRUCTION_SETS.items() if self._compiles(code, flags)}
        print(f"clstm: vector kernels for {', '.join(found) or 'nothing: only the portable path will run'}")
        return found

    def _find_openmp(self):
        """Return the compiler's and the linker's flags for OpenMP, none where there is no OpenMP."""
        if os.environ.get("CLSTM_NO_OPENMP", "0") == "0":
            for compile_args, link_args in OPENMP_FLAGS:
                if self._compiles(OPENMP_PROBE, compile_args, link_args):
                    print(f"clstm: OpenMP with {' '.join(compile_args)}")
                    return compile_args, link_args
        print("clstm: built without OpenMP, everything will run on one thread")
        return [], []

    def _compiles(self, code, compile_args, link_args=None):
        """Tell whether `code` compiles, and links if `link_args` is given."""
        with tempfile.TemporaryDirectory() as folder:
            source, compiled, linked = (os.path.join(folder, "probe" + suffix) for suffix in (".c", ".o", ".so"))
            Path(source).write_text(code + "\n")
            commands = [[*self.compiler.compiler_so, *compile_args, "-c", source, "-o", compiled]]
            if link_args is not None:
                commands.append([*self.compiler.linker_so, compiled, *link_args, "-o", linked])
            return all(subprocess.run(command, capture_output=True).returncode == 0 for command in commands)

    def _clear_if_changed(self, configuration):
        """Remove what earlier builds left in the build folder if they used other flags."""
        record = Path(self.build_temp, "configuration")
        if record.exists() and record.read_text() == configuration:
            return
        shutil.rmtree(self.build_temp, ignore_errors=True)
        for extension in self.extensions:
            Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
        record.parent.mkdir(parents=True)
        record.write_text(configuration)

    def _submit_kernels(self, pool, kernels, macros, unix):
        """Have the kernels compiled, once for each instruction set and real type; return futures of the objects."""
        jobs = [("dispatch.c", "dispatch", macros, [])]
        for name, own in kernels.items():
            for real in REALS:
                jobs.append(
                    (
                        "kernels.c",
                        f"{name}_{real.lower()}",
                        [(f"CLSTM_{name.upper()}", None), (f"CLSTM_{real}", None)],
                        own,
                    )
                )
        headers = [str(path) for path in sorted(SOURCES.glob("*.h"))]

        def compile_one(name, folder, defines, own):
            source, output = str(SOURCES / name), os.path.join(self.build_temp, folder)
            flags = self._unix_flags([*KERNEL_FLAGS, *own]) if unix else ["/O2"]
            (compiled,) = self.compiler.object_filenames([source], output_dir=output)
            if self.force or newer_group([source, *headers], compiled):
                self.compiler.compile(
                    [source], output, macros=defines, include_dirs=[str(SOURCES)], extra_postargs=flags
                )
            return compiled

        return [pool.submit(compile_one, *job) for job in reversed(jobs)]  # the table, which is small, last


def size_of(extension):
    return sum(os.path.getsize(source) for source in extension.sources)


def extensions():
    kernel_sources = [str(path) for path in sorted(SOURCES.glob("*.[ch]"))]
    for path in sorted(Path("clstm").rglob("*.pyx")):
        yield Extension(
            ".".join(path.with_suffix("").parts),
            [str(path)],
            depends=kernel_sources if "kernels" in path.read_text() else [],  # its structs are compiled in
        )


setup(ext_modules=list(extensions()), cmdclass={"build_ext": BuildExt})
