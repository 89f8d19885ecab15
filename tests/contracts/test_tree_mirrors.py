"""Each source file has its test file, where a reader would look for it.

csrc/kernels/norm/rms_norm.h        tests/kernels/norm/test_rms_norm.py, for the files of every instruction set too
csrc/ring/spsc_ring.h               tests/native/ring/test_spsc_ring.cpp or tests/ring/test_spsc_ring.py
csrc/bindings/bind_ring.cpp         tests/bindings/test_bind_ring.py, or any test in tests/ring/
python/kvtape/cli/config.py         tests/cli/test_config.py
python/kvtape/ring.py               tests/test_ring.py or tests/ring/test_ring.py
python/kvtape/cli/__init__.py       tests/cli/test_cli.py, where it holds more than names and imports
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Files with nothing in them that could be tested by itself, and why.
WITHOUT_TEST = {
    "csrc/base/error.h": "a struct; its mapping to Python is in every test of an error",
    "csrc/bindings/bind.h": "declarations",
    "csrc/tensor/quant_blocks.h": "layouts, asserted where they are declared",
}

# Files that are tested through another one.
TESTED_BY = {
    "csrc/base/cpu_features.h": "tests/ops/test_table.py",
    "csrc/bindings/bind_build.cpp": "tests/cli/test_version.py",
    "csrc/bindings/bind_errors.cpp": "tests/bindings/test_bind_ops.py",
    "csrc/bindings/bind_rows.cpp": "tests/text/test_row_layout.py",
    "csrc/bindings/module.cpp": "tests/contracts/test_stubs.py",
    "csrc/bindings/numpy_views.h": "tests/bindings/test_bind_ops.py",
    "csrc/engine/sequence.h": "tests/native/engine/test_engine.cpp",
    "csrc/engine/types.h": "tests/native/engine/test_engine.cpp",
    "csrc/engine/step.cpp": "tests/native/engine/test_engine.cpp",
    "csrc/ops/row_units.h": "tests/ops/test_packing.py",
    "csrc/model/architecture.h": "tests/model/test_load.py",
    "csrc/model/config.h": "tests/model/test_load.py",
    "csrc/model/gemma3.h": "tests/model/test_forward_pass.py",
    "csrc/model/llama.h": "tests/model/test_forward_pass.py",
    "csrc/model/qwen2.h": "tests/model/test_forward_pass.py",
    "csrc/model/qwen3.h": "tests/model/test_forward_pass.py",
    "csrc/model/runner.h": "tests/native/engine/test_engine.cpp",
    "csrc/model/weights.h": "tests/model/test_load.py",
    "csrc/text/format_value.h": "tests/text/test_row_text.py",
    "csrc/text/row_clock.h": "tests/session/test_row_text.py",
    "csrc/kernels/linear/token_blocks.h": "tests/kernels/linear/test_matmul.py",
    "csrc/kernels/attention/attend_simd.h": "tests/kernels/attention/test_attend.py",
    "csrc/kernels/attention/hole.h": "tests/ops/test_attention.py",
    "csrc/kernels/attention/kv_tile.h": "tests/kernels/attention/test_write_kv.py",
    "csrc/kernels/attention/lanes_avx2.h": "tests/kernels/attention/test_attend.py",
    "csrc/kernels/attention/lanes_avx512.h": "tests/kernels/attention/test_attend.py",
    "csrc/kernels/attention/lanes_neon.h": "tests/native/kernels/test_every_isa_attention.cpp",
    "csrc/kernels/table.h": "tests/ops/test_table.py",
    "csrc/ring/indices.h": "tests/native/ring/test_spsc_ring.cpp",
    "csrc/ring/kvtape_shared_ring.h": "tests/native/ring/test_shared_ring.cpp",
    "csrc/ring/words.h": "tests/native/ring/test_spsc_ring.cpp",
    "csrc/text/pattern.h": "tests/native/text/test_stop_matcher.cpp",
    "python/kvtape/client/call.py": "tests/client/test_transport.py",
    "python/kvtape/client/layerscale/dial.py": "tests/client/layerscale/test_socket.py",
    "python/kvtape/client/layerscale/options.py": "tests/client/layerscale/test_calls.py",
    "python/kvtape/client/layerscale/question_calls.py": "tests/client/layerscale/test_client.py",
    "python/kvtape/client/layerscale/session_calls.py": "tests/client/layerscale/test_client.py",
    "python/kvtape/protocols/anthropic/models.py": "tests/protocols/anthropic/test_codec.py",
    "python/kvtape/protocols/anthropic/reply_models.py": "tests/protocols/anthropic/test_reply.py",
    "python/kvtape/protocols/layerscale/models/answers.py": "tests/protocols/layerscale/test_codec.py",
    "python/kvtape/protocols/layerscale/models/events.py": "tests/protocols/layerscale/test_codec.py",
    "python/kvtape/protocols/layerscale/models/requests.py": "tests/protocols/layerscale/test_codec.py",
    "python/kvtape/protocols/layerscale/models/rows.py": "tests/server/routes/test_session_data.py",
    "python/kvtape/protocols/layerscale/models/sessions.py": "tests/server/routes/test_sessions.py",
    "python/kvtape/protocols/layerscale/models/server.py": "tests/client/layerscale/test_client.py",
    "python/kvtape/session/flash_runner.py": "tests/session/test_session.py",
    "python/kvtape/protocols/openai/completions_models.py": "tests/protocols/openai/test_completions_codec.py",
    "python/kvtape/protocols/openai/models.py": "tests/protocols/openai/test_reply.py",
    "python/kvtape/protocols/openai/request_models.py": "tests/protocols/openai/test_codec.py",
    "python/kvtape/server/routes/session_views.py": "tests/server/routes/test_sessions.py",
    "python/kvtape/server/routes/common.py": "tests/server/routes/test_sessions.py",
    "python/kvtape/__init__.py": "tests/contracts/test_public_names.py",
    "python/kvtape/cli/demo_run.py": "tests/cli/test_demo.py",
    "python/kvtape/engine/core.py": "tests/engine/test_engine.py",
    "python/kvtape/engine/guide_thread.py": "tests/engine/test_constraints.py",
    "python/kvtape/engine/sequence.py": "tests/engine/test_engine.py",
    "python/kvtape/types/chat.py": "tests/chat/test_conversation.py",
    "python/kvtape/types/events.py": "tests/engine/test_engine.py",
    "python/kvtape/__main__.py": "tests/cli/test_cli.py",
    "python/kvtape/_native.py": "tests/contracts/test_layers.py",
}


def wanted_tests(source: str) -> list[str]:
    """Return the places (patterns) where the test of a source file may be."""
    path = Path(source)
    stem = path.stem
    if source.startswith("csrc/kernels/") and len(path.parts) == 4:
        folder = path.parent.relative_to("csrc")
        stem = stem.removesuffix("_ref").removesuffix("_avx2").removesuffix("_avx512").removesuffix("_neon")
        # One contract may have several files, matmul.h with matmul_q8_0_ref.cpp and others.
        headers = [header.stem for header in (ROOT / path.parent).glob("*.h")]
        contract = max((name for name in headers if f"{stem}_".startswith(f"{name}_")), key=len, default=stem)
        return [f"tests/{folder}/test_{contract}.py"]
    if source.startswith("csrc/bindings/bind_"):
        return [f"tests/bindings/test_{stem}.py", f"tests/{stem.removeprefix('bind_')}/test_*.py"]
    if source.startswith("csrc/"):
        folder = path.parent.relative_to("csrc")
        return [f"tests/native/{folder}/test_{stem}.cpp", f"tests/{folder}/test_{stem}.py"]
    folder = path.parent.relative_to("python/kvtape")
    if folder == Path():
        return [f"tests/test_{stem}.py", f"tests/{stem}/test_{stem}.py"]
    return [f"tests/{folder}/test_{folder.name if stem == '__init__' else stem}.py"]


def only_names(path: Path) -> bool:
    """Whether a Python file holds a docstring, imports and `__all__`, and nothing that could be wrong by itself."""
    for node in ast.parse(path.read_text()).body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_all = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        if not (is_docstring or is_all or isinstance(node, (ast.Import, ast.ImportFrom))):
            return False
    return True


def sources() -> list[str]:
    """Return the files that want a test; a `.cpp` beside its header counts as one with it."""
    native = [path for path in (ROOT / "csrc").rglob("*") if path.suffix in (".h", ".cpp")]
    found = [path for path in native if path.suffix == ".h" or not path.with_suffix(".h").exists()]
    for path in (ROOT / "python/kvtape").rglob("*.py"):
        if not (path.name == "__init__.py" and only_names(path)):
            found.append(path)
    return sorted(str(path.relative_to(ROOT)) for path in found)


def has_test(source: str) -> bool:
    return any(any(ROOT.glob(place)) for place in wanted_tests(source))


def test_each_source_has_its_test() -> None:
    missing = [
        source for source in sources() if not (source in WITHOUT_TEST or source in TESTED_BY or has_test(source))
    ]
    assert not missing, "\n".join(f"{source}: wanted {' or '.join(wanted_tests(source))}" for source in missing)


def test_exceptions_are_still_needed() -> None:
    known = sources()
    for source in [*WITHOUT_TEST, *TESTED_BY]:
        assert source in known, f"{source} is gone"
        assert not has_test(source), f"{source} has a test by now"
    for source, test in TESTED_BY.items():
        assert (ROOT / test).is_file(), f"{test}, said to test {source}, is gone"
