#!/usr/bin/env python3
"""Makes the IDX files of this folder from the UCI handwritten digits that scikit-learn ships.

    python3 -m venv /tmp/digits && /tmp/digits/bin/pip install scikit-learn==1.7.2
    /tmp/digits/bin/python client/examples/digits/make_digits.py

The same files come out each time: the split depends on SEED alone.
"""
import pathlib
import random
import struct

from sklearn.datasets import load_digits

SEED = 20240229
TEST_IMAGES = 360  # of 1797, a fifth


def split(labels):
    """Indices of the training and test images: each digit gives the same share to both."""
    generator = random.Random(SEED)
    by_digit = {digit: [i for i, label in enumerate(labels) if label == digit] for digit in range(10)}
    share = {digit: len(indices) * TEST_IMAGES / len(labels) for digit, indices in by_digit.items()}
    count = {digit: int(exact) for digit, exact in share.items()}
    # Largest remainders make up the total.
    for digit in sorted(share, key=lambda d: count[d] - share[d])[: TEST_IMAGES - sum(count.values())]:
        count[digit] += 1
    test = set()
    for digit, indices in by_digit.items():
        test.update(generator.sample(indices, count[digit]))
    train = [i for i in range(len(labels)) if i not in test]
    generator.shuffle(train)
    return train, sorted(test)


def write_idx(path, dimensions, payload):
    """The IDX format of unsigned bytes: two zero bytes, type 8, rank, big-endian sizes, data."""
    header = struct.pack(">BBBB", 0, 0, 8, len(dimensions)) + struct.pack(f">{len(dimensions)}I", *dimensions)
    path.write_bytes(header + payload)


def main():
    digits = load_digits()
    labels = [int(label) for label in digits.target]
    folder = pathlib.Path(__file__).parent
    for name, indices in zip(("train", "test"), split(labels)):
        # Pixels are 0..16; 0..255 is what readers of IDX files expect. round(p * 16 / 255) gives them back.
        pixels = bytes(round(int(p) * 255 / 16) for i in indices for p in digits.images[i].ravel())
        write_idx(folder / f"{name}-images.idx", (len(indices), 8, 8), pixels)
        write_idx(folder / f"{name}-labels.idx", (len(indices),), bytes(labels[i] for i in indices))


if __name__ == "__main__":
    main()
