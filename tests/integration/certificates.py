"""Certificates for tests beyond those a lab enrols its hosts with."""

from lab.common import remus
from lab.qemu.host import Host


def issue_expired(first: Host, authority: str, name: str, issued: str) -> None:
    """A certificate like those of `remus cert issue`, but of years ago: the command makes none such."""
    first.run(["mkdir", "-p", issued])
    key, request = f"{issued}/host.key", f"{issued}/request"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    first.run(["openssl", "req", "-new", *curve, "-subj", f"/O=Remus/CN={name}", "-keyout", key, "-out", request])
    first.write(f"{issued}/index", "")
    first.write(
        f"{issued}/ca.conf",
        f"[ca]\ndefault_ca = old\n[old]\ndatabase = {issued}/index\nnew_certs_dir = {issued}\nrand_serial = yes\n"
        "default_md = sha256\npolicy = any\nx509_extensions = host\n[any]\norganizationName = optional\n"
        "commonName = supplied\n[host]\nbasicConstraints = critical,CA:FALSE\nkeyUsage = critical,digitalSignature\n"
        f"extendedKeyUsage = serverAuth,clientAuth\nsubjectAltName = DNS:{name}\n",
    )
    dates = ["-startdate", "20200101000000Z", "-enddate", "20210101000000Z"]
    signer = ["-cert", f"{authority}/ca.crt", "-keyfile", f"{authority}/ca.key"]
    first.run(["openssl", "ca", "-batch", "-notext", "-config", f"{issued}/ca.conf", *signer, *dates,
               "-in", request, "-out", f"{issued}/host.crt"])  # fmt: skip
    first.write(f"{issued}/ca.crt", first.read_bytes(f"{authority}/ca.crt"))


def copy(first: Host, issued: str, onto: Host, directory: str = remus.PKI) -> None:
    """Copies ca.crt, host.crt and host.key from a directory of one host to one of another."""
    for name in ("ca.crt", "host.crt", "host.key"):
        onto.write(f"{directory}/{name}", first.read_bytes(f"{issued}/{name}"), first.files_in(issued)[name])
