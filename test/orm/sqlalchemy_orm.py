"""What SQLAlchemy learns about "users", and whether it can use it: a line for
each question, with the answer or the error."""

import os
import uuid

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.automap import automap_base
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

engine = sa.create_engine(sa.URL.create(
    "postgresql+psycopg", username=os.environ["PGUSER"], host=os.environ["PGHOST"],
    port=int(os.environ["PGPORT"]), database=os.environ["PGDATABASE"]))


class Base(DeclarativeBase):
    pass


class User(Base):
    """Written down, with nothing asked of the catalog."""
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    name: Mapped[str] = mapped_column(server_default="nobody")
    email: Mapped[str | None]
    active: Mapped[bool] = mapped_column(server_default=sa.true())


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))


def ask(question, answer):
    try:
        said = repr(answer())
    except Exception as e:
        said = f"{type(e).__name__}: {str(e).splitlines()[0]}"
    print(f"{question}: {said}")


def in_session(work):
    with Session(engine) as session:
        result = work(session)
        session.commit()
        return result


def add(session, user):
    session.add(user)
    session.flush()
    return type(user.id)


def email():
    return f"{uuid.uuid4().hex}@example.com"


def reflected(*columns):
    return sa.Table("users", sa.MetaData(), *columns, autoload_with=engine)


def map_reflected(*columns):
    base = type("B", (DeclarativeBase,), {})
    return type("U", (base,), {"__table__": sa.Table("users", base.metadata, *columns, autoload_with=engine)})


def automapped():
    base = automap_base()
    base.prepare(autoload_with=engine)
    return "users" in base.classes


def run(statement):
    with engine.begin() as connection:
        return connection.execute(statement)


print(f"# sqlalchemy {sa.__version__}")
look = sa.inspect(engine)
ask("get_table_names", lambda: "users" in look.get_table_names())
ask("get_view_names", lambda: "users" in look.get_view_names())
ask("has_table", lambda: look.has_table("users"))
ask("get_pk_constraint", lambda: look.get_pk_constraint("users")["constrained_columns"])
for c in look.get_columns("users"):
    ask(f"column {c['name']}", lambda c=c: (str(c["type"]), c["default"], c["nullable"], c.get("autoincrement")))
ask("get_indexes", lambda: [i["column_names"] for i in look.get_indexes("users")])
ask("get_unique_constraints", lambda: [u["column_names"] for u in look.get_unique_constraints("users")])
ask("foreign keys of orders", lambda: [f["referred_table"] for f in look.get_foreign_keys("orders")])
ask("create_all", lambda: Base.metadata.create_all(engine))
ask("written down: add", lambda: in_session(lambda s: add(s, User(name="a", email=email()))))
ask("written down: get", lambda: in_session(lambda s: s.get(User, 1).name))
ask("written down: update", lambda: in_session(lambda s: setattr(s.get(User, 1), "active", True)))
ask("written down: delete", lambda: in_session(
    lambda s: [s.add(u := User(email=email())), s.flush(), s.delete(u), s.flush()] and "done"))
ask("written down: upsert", lambda: run(insert(User).values(email="first@example.com").on_conflict_do_update(
    index_elements=["email"], set_={"active": True})).rowcount)
ask("written down: with_for_update", lambda: in_session(lambda s: s.get(User, 1, with_for_update=True).name))
ask("written down: foreign key", lambda: in_session(lambda s: [s.add(Order(user_id=1)), s.flush()] and "done"))
ask("written down: group by the key", lambda: len(run(
    sa.select(User, sa.func.count()).group_by(User.id)).all()))
ask("reflected: primary key", lambda: [c.name for c in reflected().primary_key])
ask("reflected: insert", lambda: run(reflected().insert().values(email=email())).inserted_primary_key)
ask("reflected: mapped", lambda: map_reflected().__name__)
ask("reflected, key given: mapped", lambda: map_reflected(sa.Column("id", sa.BigInteger, primary_key=True)).__name__)
ask("reflected, key given: add", lambda: in_session(
    lambda s: add(s, map_reflected(sa.Column("id", sa.BigInteger, primary_key=True))(email=email()))))
ask("automap", automapped)
ask("MetaData.reflect", lambda: (lambda m: (m.reflect(engine), "users" in m.tables)[1])(sa.MetaData()))
ask("MetaData.reflect(views)", lambda: (lambda m: (m.reflect(engine, views=True), "users" in m.tables)[1])(sa.MetaData()))
