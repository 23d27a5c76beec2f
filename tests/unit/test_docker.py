"""`docker/`: no container engine runs here, so what the files name is held against what there is."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from chipweave import __version__

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
COMPOSE = ROOT / "docker" / "compose.yaml"
SERVICES = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("chipweave:")}
VARIABLE = re.compile(r"(?<!\$)\$\{?(\w+)(:?[-?])?")


def instructions() -> list[tuple[str, list[str]]]:
    """Instructions of the Dockerfile and their words, without options."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE).replace(
        "\\\n", " "
    )
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [
        (name, [w for w in shlex.split(rest, comments=False) if not w.startswith("--")])
        for name, rest in lines
    ]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).with_name(command[0])
    if not tool.exists():
        pytest.skip(f"{command[0]} is not installed: `pip install -e .[test]` brings it")
    return subprocess.run([tool, *command[1:]], capture_output=True, text=True, timeout=60, check=False)


def test_the_dockerfile_passes_the_linter() -> None:
    done = run("hadolint", "--no-color", str(DOCKERFILE))
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_fits_the_schema_of_the_specification() -> None:
    done = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_ends_as_a_user_and_takes_nothing_from_outside() -> None:
    found = instructions()
    assert [words for name, words in found if name == "USER"][-1] == ["1000:1000"]
    last = max(i for i, (name, _) in enumerate(found) if name == "USER")
    assert {name for name, _ in found[last:]} <= {"USER", "VOLUME", "CMD"}, (
        "nothing is written after that as root"
    )
    assert "ADD" not in {name for name, _ in found}
    assert "HEALTHCHECK" not in {name for name, _ in found}
    (base,) = [words[0] for name, words in found if name == "ARG"]
    assert re.fullmatch(r"PYTHON=python:3\.1[1-9][\w.]*-slim-\w+", base)
    assert {words[0] for name, words in found if name == "FROM"} == {"${PYTHON}"}
    written = DOCKERFILE.read_text(encoding="utf-8")
    assert not re.search(r"(?i)\b(ENV|ARG)\b[^\n]*(password|secret|token|_key)", written)


def test_what_is_copied_is_there_and_not_ignored() -> None:
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    let_in = {line[1:] for line in rules if line.startswith("!")}
    assert "*" in rules
    from_stage = re.findall(r"^COPY --from=\w+ (\S+)", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    sources = [
        w for name, words in instructions() if name == "COPY" for w in words[:-1] if w not in from_stage
    ]
    assert set(sources) == let_in
    for source in sources:
        assert (ROOT / source).exists(), source
    build = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for needed in ("src/chipweave", '"catalogs" = ', 'readme = "README.md"', '"LICENSE"'):
        assert needed in build, f"{needed} is not what the wheel is made of any more"


def test_the_packages_of_the_image_hold_every_command() -> None:
    """All dependencies, no extras: which is what `pip install *.whl` brings."""
    plain = {Requirement(r).name for r in requires("chipweave") or () if Requirement(r).marker is None}
    scripts = [distribution(n).entry_points.select(group="console_scripts") for n in (*plain, "chipweave")]
    commands = {script.name for found in scripts for script in found}
    told = [words[0].strip("[],") for name, words in instructions() if name == "CMD"]
    for service in OURS.values():
        command = service["command"]
        if command[:2] == ["sh", "-c"]:
            told += [words.split()[0] for words in command[2].split("&&")]
        else:
            told.append(command[0])
        told += [service["healthcheck"]["test"][1]] if "healthcheck" in service else []
    assert {"chipweave", "prefect", "dask", "python"} == set(told)
    assert set(told) - {"python"} <= commands


@pytest.mark.parametrize("name", [n for n, s in OURS.items() if s["command"][0] == "dask"])
def test_dask_knows_the_options(name: str) -> None:
    words = OURS[name]["command"]
    told = run("dask", words[1], "--help")
    assert told.returncode == 0
    for option in [w.partition("=")[0] for w in words if w.startswith("--")]:
        assert option in told.stdout


def test_services_wait_for_health_and_name_what_there_is() -> None:
    declared = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["volumes"]
    for name, service in SERVICES.items():
        assert re.search(r":\d[\w.-]*$", service["image"]), f"{name}: no version of {service['image']}"
        for other, how in service.get("depends_on", {}).items():
            ends = SERVICES[other].get("restart") == "no"
            assert how == {"condition": "service_completed_successfully" if ends else "service_healthy"}
            assert ends or "healthcheck" in SERVICES[other]
        for volume in service.get("volumes", ()):
            from_outside = volume == "${CHIPWEAVE_RECIPES:-../recipes}:/app/recipes:ro"
            assert from_outside or volume.partition(":")[0] in declared, f"{name}: {volume}"
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name}: {port} is open to everybody"
    for service in OURS.values():
        assert service["image"] == f"chipweave:{__version__}"
        assert (
            COMPOSE.parent / service["build"]["context"] / service["build"]["dockerfile"]
        ).resolve() == DOCKERFILE
    named = {v.partition(":")[0] for s in SERVICES.values() for v in s.get("volumes", ())}
    assert set(declared) <= named


def test_hosts_that_services_ask_are_services() -> None:
    for name, service in OURS.items():
        asked = " ".join(
            [*map(str, service["command"]), *map(str, (service.get("environment") or {}).values())]
        )
        for host in re.findall(r"(?:tcp|https?)://([\w.-]+):\d+", asked):
            assert host in SERVICES or host == "127.0.0.1", f"{name} asks {host}"


def test_secrets_are_the_environments() -> None:
    """No password stands here: a name from outside is required, or has a default that is no secret."""
    text = COMPOSE.read_text(encoding="utf-8")
    for name, how in VARIABLE.findall(text):
        assert how in (":?", ":-"), f"{name} is empty where it is not set"
    for service in SERVICES.values():
        for key, value in (service.get("environment") or {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY$", key):
                assert value is None or re.search(r"\$\{POSTGRES_PASSWORD:\?", value), key
    assert "POSTGRES_PASSWORD=" not in text


def test_whoever_reads_pixels_is_given_the_providers_secrets() -> None:
    wanted = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    for path in (ROOT / "catalogs" / "providers").glob("*.yaml"):
        for rule in yaml.safe_load(path.read_text(encoding="utf-8")).get("access", ()):
            wanted |= {rule[k] for k in ("key", "secret", "token") if k in rule}
    for name in ("dask-worker", "worker"):
        assert wanted <= set(OURS[name]["environment"])
    assert OURS["worker"]["volumes"] == OURS["dask-worker"]["volumes"], "they must see the same folder"


def test_folders_are_those_of_the_image() -> None:
    (home,) = [words[0] for name, words in instructions() if name == "VOLUME"]
    workdirs = [words[0] for name, words in instructions() if name == "WORKDIR"]
    assert home == f"{workdirs[-1]}/data"
    made = re.findall(r"install -d -o chipweave -g chipweave (\S+)", DOCKERFILE.read_text(encoding="utf-8"))
    assert made == [home], "the volume would belong to root"
    assert any(v == f"data:{home}" for v in OURS["worker"]["volumes"])
    deployments = yaml.safe_load((ROOT / "flows" / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    for deployment in deployments:
        assert deployment["parameters"]["out"].startswith("data/")
        assert deployment["parameters"]["recipe"].startswith("recipes/")


def test_the_page_on_flows_names_what_there_is() -> None:
    page = (ROOT / "docs" / "flows.md").read_text(encoding="utf-8")
    for name in re.findall(r"\]\(\.\./([\w./-]+)\)", page):
        assert (ROOT / name).is_file(), name
    deployed = OURS["deploy"]["command"][2].replace(" --no-prompt", "").replace(" --overwrite", "")
    told = [*(c.strip() for c in deployed.split("&&")), " ".join(OURS["worker"]["command"])]
    block = [b.splitlines() for b in re.findall(r"^```\n(.*?)```", page, re.MULTILINE | re.DOTALL)]
    assert told in block
    for line in [line for lines in block for line in lines if line.startswith("docker compose")]:
        words = shlex.split(line)
        assert (ROOT / words[words.index("-f") + 1]).resolve() == COMPOSE
        if "--rm" in words:
            assert words[words.index("--rm") + 1] in OURS
    assert "--profile s3" in page
    assert SERVICES["store"]["profiles"] == ["s3"]


@pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not installed")
def test_compose_is_understood_by_docker() -> None:
    env = {**os.environ, "POSTGRES_PASSWORD": "p"}
    command = ["docker", "compose", "-f", str(COMPOSE), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)
    if "docker compose" in done.stderr or "unknown" in done.stderr:
        pytest.skip("docker has no `compose` here")
    assert done.returncode == 0, done.stderr
