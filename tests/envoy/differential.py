"""Random requests to real Envoys: ``python -m tests.envoy.differential SEED COUNT``."""

from __future__ import annotations

import datetime
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.envoy.compare import disagreement, proxy_of, send
from tests.envoy.generate import BACKEND_HEADERS, Generator, Sent
from tests.envoy.server import Echo, RejectedError, free_ports, running

PER_SETUP = 120


@dataclass
class Tally:
    """What was compared, and where walker and Envoy differ."""

    requests: int = 0
    setups: int = 0
    rejected: int = 0
    words: list[str] = field(default_factory=list)  # of Envoys that did not start
    statuses: dict[str, int] = field(default_factory=dict)
    differences: list[tuple[int, Sent, str]] = field(default_factory=list)


def certificate() -> dict[str, Any]:
    """A self-signed certificate as Envoy's config has it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kgdiag.test")])
    now = datetime.datetime.now(datetime.UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
    built = built.not_valid_after(now + datetime.timedelta(days=2))
    signed = built.sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    pem = serialization.Encoding.PEM
    return {
        "certificate_chain": {"inline_string": signed.public_bytes(pem).decode()},
        "private_key": {"inline_string": key.private_bytes(pem, form, plain).decode()},
    }


def run(seed: int, count: int, folder: Path, *, keep: bool = False) -> Tally:
    """Compare ``count`` requests, spread over as many configurations as that takes."""
    tally, taken = Tally(), 0
    signed = certificate()
    echo = Echo(4, BACKEND_HEADERS)
    try:
        while tally.requests < count:
            random = Random(f"{seed}/{tally.setups + tally.rejected}")
            generator = Generator(random, echo.ports, free_ports(9), signed)
            setup = generator.setup()
            try:
                with running(setup.config, folder) as dump:
                    tally.setups += 1
                    if keep:
                        (folder / "dump.json").write_text(json.dumps(dump))
                    proxy = proxy_of(dump)
                    for at in range(min(PER_SETUP, count - tally.requests)):
                        sent = generator.request(setup.entries[at % len(setup.entries)])
                        answer = send(sent)
                        tally.requests += 1
                        key = str(answer.status)
                        tally.statuses[key] = tally.statuses.get(key, 0) + 1
                        said = disagreement(proxy, sent, answer)
                        if said is not None:
                            tally.differences.append((tally.setups + tally.rejected - 1, sent, said))
            except RejectedError as error:
                if "Address already in use" in str(error):
                    taken += 1
                    if taken < 20:
                        continue
                tally.rejected += 1
                if tally.rejected > 10 and tally.setups == 0:
                    raise
                tally.words.append(str(error)[-400:])
    finally:
        echo.close()
    return tally


def main() -> int:
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = run(seed, count, Path(folder))
    took = time.monotonic() - start
    for at, sent, said in tally.differences[:40]:
        sys.stdout.write(f"seed {seed}/{at}: {said}\n    {asdict(sent)}\n")
    share = 100 * (1 - len(tally.differences) / max(tally.requests, 1))
    sys.stdout.write(
        f"seed {seed}: {tally.requests} requests to {tally.setups} configurations "
        f"({tally.rejected} refused by Envoy), {len(tally.differences)} disagreements, {share:.2f} % agree, "
        f"statuses {tally.statuses}, {took:.0f} s\n"
    )
    return 1 if tally.differences else 0


if __name__ == "__main__":
    sys.exit(main())
