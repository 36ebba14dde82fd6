"""Build of the extensions: every clstm/*.pyx, and the C kernels under src/, once for each instruction set.

Everything else about the package stands in pyproject.toml. Switches, for tests of the build: CLSTM_NO_OPENMP=1 builds
for one thread, CLSTM_PORTABLE_ONLY=1 without vector kernels. Nothing is ever compiled for the building machine's own
processor: which kernels run is decided at import.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from Cython.Build import cythonize
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
C_FLAGS = ["-O3", "-g0", "-fno-math-errno", "-fvisibility=hidden"]
KERNEL_FLAGS = [*C_FLAGS, "-std=gnu11", "-ffp-contract=fast"]
LINK_FLAGS = ["-Wl,-s", "-Wl,--as-needed"] if sys.platform.startswith("linux") else []
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
}


class BuildExt(build_ext):
    """Translates the Cython sources, looks what the compiler can do, compiles the kernels, then the extensions."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self):
        unix = self.compiler.compiler_type != "msvc"
        kernels = self._find_kernels() if unix else {}
        openmp_compile, openmp_link = self._find_openmp() if unix else (["/openmp"], [])
        compile_args = [*(C_FLAGS if unix else ["/O2"]), *openmp_compile]
        link_args = [*(LINK_FLAGS if unix else []), *openmp_link]
        macros = [(f"CLSTM_HAVE_{name.upper()}", "1") for name in kernels]
        self._clear_if_changed(repr((compile_args, link_args, kernels, KERNEL_FLAGS, self.compiler.compiler_type)))

        c_sources = {
            translated.name: translated.sources
            for translated in cythonize(
                self.extensions, compiler_directives=DIRECTIVES, build_dir="build", force=self.force
            )
        }
        objects = self._compile_kernels(kernels, macros, unix) if self.extensions else []
        for extension in self.extensions:
            extension.sources = c_sources[extension.name]
            extension.extra_compile_args = compile_args
            extension.extra_link_args = link_args
            extension.define_macros = [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"), *macros]
            if extension.name in KERNEL_USERS:
                extension.extra_objects = objects
                extension.depends = [*extension.depends, *objects]
        super().build_extensions()

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

    def _compile_kernels(self, kernels, macros, unix):
        """Compile the kernels for each instruction set and real type, and their table; return the objects."""
        jobs = [("dispatch.c", "dispatch", macros, KERNEL_FLAGS if unix else ["/O2"])]
        for name, own in kernels.items():
            for real in REALS:
                defines = [(f"CLSTM_{name.upper()}", None), (f"CLSTM_{real}", None)]
                jobs.append(("kernels.c", f"{name}_{real.lower()}", defines, KERNEL_FLAGS + own))
        headers = [str(path) for path in sorted(SOURCES.glob("*.h"))]

        def compile_one(name, folder, defines, flags):
            source, output = str(SOURCES / name), os.path.join(self.build_temp, folder)
            (compiled,) = self.compiler.object_filenames([source], output_dir=output)
            if self.force or newer_group([source, *headers], compiled):
                self.compiler.compile(
                    [source], output, macros=defines, include_dirs=[str(SOURCES)], extra_postargs=flags
                )
            return compiled

        with ThreadPoolExecutor(self.parallel) as pool:
            return list(pool.map(compile_one, *zip(*jobs, strict=True)))


def extensions():
    kernel_sources = [str(path) for path in sorted(SOURCES.glob("*.[ch]"))]
    for path in sorted(Path("clstm").rglob("*.pyx")):
        name = ".".join(path.with_suffix("").parts)
        yield Extension(
            name,
            [str(path)],
            include_dirs=[numpy.get_include(), str(SOURCES)],
            depends=kernel_sources if "kernels" in path.read_text() else [],  # its structs are compiled in
        )


setup(ext_modules=list(extensions()), cmdclass={"build_ext": BuildExt})
