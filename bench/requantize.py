"""Write a model in other formats, for speed and quality of each: `python -m bench.requantize MODEL Q8_0 [Q4_0 ...]`.

The matrices are dequantised and quantised anew; everything else stays as it is. Prints the path of each file, which
lies in the cache folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import numpy as np

from bench.peers.llama_cpp import cache_folder
from kvtape.model.registry import resolve

FORMATS = ("F32", "F16", "BF16", "Q8_0", "Q5_0", "Q5_1", "Q4_0", "Q4_1")  # those that gguf can write


def requantize(model: Path, name: str) -> Path:
    """Return the path of `model` with its matrices in the format `name`; written the first time."""
    path = cache_folder() / "models" / f"{model.stem}-as-{name}.gguf"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = gguf.GGMLQuantizationType[name]
    reader = gguf.GGUFReader(model)
    writer = gguf.GGUFWriter(path.with_suffix(".part"), reader.get_field("general.architecture").contents())
    for field in reader.fields.values():
        if field.name != "general.architecture" and not field.name.startswith("GGUF."):
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        if len(tensor.shape) == 2:
            writer.add_tensor(tensor.name, gguf.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.with_suffix(".part").rename(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("formats", nargs="+", choices=FORMATS)
    args = parser.parse_args()
    for name in args.formats:
        print(requantize(resolve(args.model), name))


if __name__ == "__main__":
    main()
