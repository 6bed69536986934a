"""A broker and a database as in production: TLS, logins, and nobody may do more than his work needs."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from psycopg import sql

from keepstream.app.embedded.kafka import EmbeddedKafka
from keepstream.app.embedded.postgres import DATABASE, USER, EmbeddedPostgres
from keepstream.app.embedded.postgres_binaries import unprivileged_account
from keepstream.app.embedded.service import LOOPBACK, free_port
from tests.acceptance.conftest import System
from tests.certificates import Authority, Identity
from tests.postgres_versions import DEBIAN_BINARIES

BY_CERTIFICATE = "operator"
ROLES = ("owner", "worker", "operator", "reader")
CANARY = "c4nary"
SCHEMA = "keepstream"
DEPLOY = Path(__file__).parents[2] / "deploy/postgres"
_LOGIN = "org.apache.kafka.common.security"


@dataclass(frozen=True)
class Secure:
    """The servers, and what each role has to show. Every secret is a canary that nobody may ever see."""

    authority: Authority
    kafka: EmbeddedKafka
    postgres: EmbeddedPostgres
    tls: str
    """``host:port`` of the listener with TLS and SASL."""
    mutual: str
    """``host:port`` of the listener that wants a client certificate."""
    passwords: dict[str, str]
    server: Identity
    """PostgreSQL's certificate."""
    certificates: dict[str, Identity] = field(default_factory=dict)

    def kafka_as(self, role: str, mechanism: str = "SCRAM-SHA-512", **changes: str) -> dict[str, Any]:
        """Return the settings of a client that logs in with SASL over TLS."""
        return {
            "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": self.tls,
            **_security(protocol="SASL_SSL", ca_file=str(self.authority.certificate), mechanism=mechanism,
                        **({"username": role, "password": self.passwords[role]} | changes)),
        }  # fmt: skip

    def kafka_by_certificate(self, role: str) -> dict[str, Any]:
        own = self.certificates[role]
        return {
            "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": self.mutual,
            **_security(protocol="SSL", ca_file=str(self.authority.certificate),
                        certificate_file=str(own.certificate), key_file=str(own.key)),
        }  # fmt: skip

    def postgres_as(self, role: str) -> dict[str, Any]:
        """Return the settings of a role that verifies the server. The operator comes with a certificate."""
        return {"KEEPSTREAM_POSTGRES__URL": self.url(role)}

    def settings_of(self, role: str) -> dict[str, Any]:
        return {**self.kafka_as(role), **self.postgres_as(role)}

    def present(self, own: Identity) -> None:
        """Make PostgreSQL show this certificate to whoever connects from now on."""
        _install_certificates(self.postgres, own, self.authority)
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")

    def connect(self, role: str) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.url(role), autocommit=True, options=f"-c search_path={SCHEMA}")

    def url(self, role: str, *, password: str | None = None, authority: Path | None = None) -> str:
        own = self.certificates[role]
        by_certificate = role == BY_CERTIFICATE
        who = f"keepstream_{role}" + ("" if by_certificate else f":{password or self.passwords[role]}")
        more = f"&sslcert={own.certificate}&sslkey={own.key}" if by_certificate else ""
        verified = f"sslmode=verify-full&sslrootcert={authority or self.authority.certificate}"
        return f"postgresql://{who}@localhost:{self.postgres.port}/{DATABASE}?{verified}{more}"


def _security(**given: str) -> dict[str, str]:
    return {f"KEEPSTREAM_KAFKA__SECURITY__{name.upper()}": value for name, value in given.items()}


def broker(authority: Authority, own: Identity, passwords: dict[str, str]) -> tuple[EmbeddedKafka, int, int]:
    """Build a broker with a listener for SASL over TLS and one for mutual TLS; only the rig comes without."""
    direct, controller, tls, mutual = (free_port() for _ in range(4))
    listeners = {"PLAINTEXT": direct, "CONTROLLER": controller, "SASLTLS": tls, "MUTUAL": mutual}
    places = ",".join(f"{name}://{LOOPBACK}:{port}" for name, port in listeners.items())
    users = " ".join(f'user_{role}="{password}"' for role, password in passwords.items())
    overrides = {
        "listeners": places,
        "advertised.listeners": places,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASLTLS:SASL_SSL,MUTUAL:SSL",
        "controller.quorum.bootstrap.servers": f"{LOOPBACK}:{controller}",
        "ssl.keystore.type": "PEM", "ssl.keystore.location": str(own.both),
        "ssl.truststore.type": "PEM", "ssl.truststore.location": str(authority.certificate),
        "listener.name.mutual.ssl.client.auth": "required",
        "ssl.principal.mapping.rules": "RULE:^CN=keepstream_(.*)$/$1/,DEFAULT",
        "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN,OAUTHBEARER",
        "listener.name.sasltls.scram-sha-256.sasl.jaas.config": f"{_LOGIN}.scram.ScramLoginModule required;",
        "listener.name.sasltls.scram-sha-512.sasl.jaas.config": f"{_LOGIN}.scram.ScramLoginModule required;",
        "listener.name.sasltls.plain.sasl.jaas.config": f"{_LOGIN}.plain.PlainLoginModule required {users};",
        "listener.name.sasltls.oauthbearer.sasl.jaas.config":
            f'{_LOGIN}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";',
        # A session ends with its token: a client that does not come with a new one is cut off.
        "listener.name.sasltls.oauthbearer.connections.max.reauth.ms": "3600000",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",  # the rig, the broker and its controller, on loopback
    }  # fmt: skip
    return EmbeddedKafka(port=direct, overrides=overrides), tls, mutual


@contextmanager
def start_secure(folder: Path) -> Iterator[Secure]:
    """Start both servers, with users, roles and rights on nothing yet."""
    authority = Authority(folder)
    passwords = {role: f"{CANARY}-{role}-{secrets.token_hex(8)}" for role in ROLES}
    kafka, tls, mutual = broker(authority, authority.issue("broker"), passwords)
    postgres = EmbeddedPostgres(bin_dir=DEBIAN_BINARIES[-1])
    certificates = {role: authority.issue(f"keepstream_{role}") for role in ROLES}
    with ExitStack() as stack:
        for service in (kafka, postgres):
            stack.callback(service.stop)
            service.start()
        _make_roles(postgres, passwords)
        server = authority.issue("postgres")
        _switch_tls_on(postgres, authority, server)
        secure = Secure(
            authority, kafka, postgres, f"{LOOPBACK}:{tls}", f"{LOOPBACK}:{mutual}", passwords, server, certificates
        )
        _scram_users(kafka, passwords)
        yield secure


def allow(kafka: EmbeddedKafka, role: str, rights: list[tuple[ResourceType, str, AclOperation]]) -> None:
    """Grant exactly these."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    rules = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{role}", "*", operation, AclPermissionType.ALLOW)
        for kind, name, operation in rights
    ]
    for done in admin.create_acls(rules).values():
        done.result(30)


def set_scram_password(kafka: EmbeddedKafka, role: str, password: str) -> None:
    """Give one user another password."""
    _scram_users(kafka, {role: password})


def _scram_users(kafka: EmbeddedKafka, passwords: dict[str, str]) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for kind in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):  # one of a user per request
        terms = ScramCredentialInfo(kind, 4096)
        changes: list[Any] = [
            UserScramCredentialUpsertion(role, terms, password.encode()) for role, password in passwords.items()
        ]
        for done in admin.alter_user_scram_credentials(changes).values():
            done.result(30)


def _switch_tls_on(postgres: EmbeddedPostgres, authority: Authority, own: Identity) -> None:
    """Give the server its certificate; from then on everybody but the rig has to come with TLS."""
    _install_certificates(postgres, own, authority)
    data = postgres.home() / "pgdata"
    (data / "pg_hba.conf").write_text(
        f"host    all {USER} {LOOPBACK}/32 scram-sha-256\n"
        f"hostssl all keepstream_{BY_CERTIFICATE} {LOOPBACK}/32 cert\n"
        f"hostssl all all {LOOPBACK}/32 scram-sha-256\n"
    )
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET ssl_ca_file = 'root.crt'")
        connection.execute("ALTER SYSTEM SET ssl = on")
        connection.execute("SELECT pg_reload_conf()")


def _make_roles(postgres: EmbeddedPostgres, passwords: dict[str, str]) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        for _ in range(2):  # a second time does no harm
            connection.execute((DEPLOY / "roles.sql").read_bytes())
        for role, password in passwords.items():
            terms = sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                sql.Identifier(f"keepstream_{role}"), sql.Literal(password)
            )
            connection.execute(terms)


def _install_certificates(postgres: EmbeddedPostgres, own: Identity, authority: Authority) -> None:
    data = postgres.home() / "pgdata"
    for file, name in ((own.certificate, "server.crt"), (own.key, "server.key"), (authority.certificate, "root.crt")):
        shutil.copyfile(file, data / name)
        (data / name).chmod(0o600)
        if account := unprivileged_account():
            os.chown(data / name, account.pw_uid, account.pw_gid)


def table_names(system: System) -> list[str]:
    found = system.database.rows("SELECT tablename FROM pg_tables WHERE schemaname = %s", SCHEMA)
    return [str(name) for (name,) in found]
