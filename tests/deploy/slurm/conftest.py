"""The clusters of the integration tests, for what is deployed with real programs."""
import importlib.util
import pathlib
import sys

_file = pathlib.Path(__file__).resolve().parents[2] / "integration/conftest.py"
sys.path.append(str(_file.parent))  # what those tests share
_spec = importlib.util.spec_from_file_location("integration_conftest", _file)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
globals().update({name: value for name, value in vars(_module).items() if not name.startswith("_")})
