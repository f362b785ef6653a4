"""What each program loads: the server and the agent no LibTorch, the trainer no gRPC, nobody CUDA but the plug-in."""
import os
import pathlib
import subprocess
import unittest

BIN = pathlib.Path(os.environ["MANTISSA_BIN_DIR"])

TORCH = ("libtorch", "libc10")
CUDA = ("libtorch_cuda", "libc10_cuda", "libcuda.so", "libcublas", "libcudnn")
GRPC = ("libgrpc", "libgpr")
NEVER = {
    "mantissa-server": TORCH + CUDA + ("libcudart",),
    "mantissa-worker": TORCH + CUDA + ("libcudart",),
    "mantissa": TORCH + CUDA + ("libcudart", "libsqlite3", "libprometheus-cpp"),
    # libtorch_cpu.so itself loads libcudart.
    "mantissa-trainer": CUDA + GRPC + ("libsqlite3", "libprometheus-cpp"),
}


class Programs(unittest.TestCase):
    def test_programs_load_only_what_is_theirs(self):
        for program, never in NEVER.items():
            with self.subTest(program=program):
                path = BIN / program
                if not path.exists():
                    self.skipTest(f"{path} is not built")
                loaded = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
                self.assertNotIn("not found", loaded)
                names = [line.split()[0] for line in loaded.splitlines()]
                self.assertEqual([n for n in names if n.startswith(never)], [], f"{program} must not load these")


if __name__ == "__main__":
    unittest.main()
