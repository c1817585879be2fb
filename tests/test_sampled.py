"""What `perf` says of a process, sorted by whose code ran."""

import pytest

from benchmarks.sampled import attribute

REPORT = """# To display the perf.data header info, please use --header/--header-only options.
#
# Overhead  Shared Object
# ........  .................................................

    57.74%  libpywrap_litert_common.so
    10.79%  libpython3.11.so.1.0
     8.46%  libavcodec-57aca189.so.62.28.102
     1.59%  libswscale-ca2eb2d3.so.9.5.102
     7.81%  cv2.abi3.so
     4.92%  _multiarray_umath.cpython-311-x86_64-linux-gnu.so
     3.66%  [kernel.kallsyms]
     3.60%  libc.so.6
     0.09%  _core.cpython-311-x86_64-linux-gnu.so
     0.03%  libscipy_openblas64_-32a4b2a6.so
"""


def test_each_sample_falls_to_the_library_whose_code_ran():
    assert attribute(REPORT) == pytest.approx(
        {
            "LiteRT": 0.5774, "decoder": 0.1005, "OpenCV": 0.0781, "numpy": 0.0495,
            "system": 0.0726, "Python": 0.1088,
        }
    )  # fmt: skip


def test_a_python_that_is_one_file_is_python_too():
    assert attribute("    12.50%  python3.13\n")["Python"] == pytest.approx(0.125)
