"""What Django learns about "users", and whether it can use it: a line for each
question, with the answer or the error."""

import os
import uuid

import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["PGDATABASE"],
        "USER": os.environ["PGUSER"],
        "HOST": os.environ["PGHOST"],
        "PORT": os.environ["PGPORT"],
    }},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()

from django.core.management.color import no_style  # noqa: E402
from django.db import connection, models, transaction  # noqa: E402
from django.db.models.functions import Now  # noqa: E402


class Columns(models.Model):
    name = models.TextField(default="nobody")
    email = models.CharField(max_length=80, unique=True, null=True)
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True


class User(Columns):
    class Meta:
        app_label = "test"
        db_table = "users"


class Told(Columns):
    """Not Django's to create: it asks less of the table then."""

    class Meta:
        app_label = "test"
        db_table = "users"
        managed = False


class Order(models.Model):
    user = models.ForeignKey(User, models.CASCADE)

    class Meta:
        app_label = "test"
        db_table = "orders"


def ask(question, answer):
    try:
        with transaction.atomic():
            said = repr(answer())
    except Exception as e:
        said = f"{type(e).__name__}: {str(e).splitlines()[0]}"
    print(f"{question}: {said}")


def with_cursor(method, *args):
    with connection.cursor() as cursor:
        return getattr(connection.introspection, method)(cursor, *args)


def rolled_back(work):
    work()
    transaction.set_rollback(True)


def alter(field_class, name):
    with connection.schema_editor() as editor:
        field = field_class(null=True)
        field.set_attributes_from_name(name)
        editor.add_field(User, field)


def email():
    return f"{uuid.uuid4().hex}@example.com"


print(f"# django {django.get_version()}")
ask("table_names()", lambda: "users" in connection.introspection.table_names())
ask("table_names(include_views)", lambda: "users" in connection.introspection.table_names(include_views=True))
ask("kind", lambda: [t.type for t in with_cursor("get_table_list") if t.name == "users"])
ask("primary key", lambda: with_cursor("get_primary_key_column", "users"))
ask("sequences", lambda: [s["name"] for s in with_cursor("get_sequences", "users")])
for c in with_cursor("get_table_description", "users"):
    ask(f"column {c.name}", lambda c=c: (c.type_code, c.default, c.null_ok))
ask("constraints", lambda: sorted((str(v["columns"]), v["primary_key"], v["unique"])
                                  for v in with_cursor("get_constraints", "users").values() if v["unique"]))
ask("relations of orders", lambda: with_cursor("get_relations", "orders"))
ask("create", lambda: type(User.objects.create(name="a", email=email()).pk))
ask("get", lambda: User.objects.get(pk=1).name)
ask("save", lambda: User.objects.get(pk=1).save())
ask("delete", lambda: User.objects.create(name="gone", email=email()).delete()[0])
ask("get_or_create", lambda: User.objects.get_or_create(email="first@example.com")[1])
ask("update_or_create", lambda: User.objects.update_or_create(email="first@example.com", defaults={"active": True})[1])
ask("bulk_create", lambda: len([u.pk for u in User.objects.bulk_create([User(email=email()), User(email=email())]) if u.pk]))
ask("bulk_create, ignore_conflicts",
    lambda: len(User.objects.bulk_create([User(email="first@example.com")], ignore_conflicts=True)))
ask("bulk_create, update_conflicts",
    lambda: len(User.objects.bulk_create([User(name="first", email="first@example.com", active=True)],
                                         update_conflicts=True, unique_fields=["email"], update_fields=["active"])))
ask("foreign key", lambda: Order.objects.create(user_id=1).user.name)
ask("select_for_update", lambda: User.objects.select_for_update().get(pk=1).name)
for model in (User, Told):
    ask(f"annotate, managed {model._meta.managed}",
        lambda model=model: model.objects.annotate(n=models.Count(models.Value(1))).get(pk=1).n)
ask("update with an expression", lambda: User.objects.filter(pk=1).update(created_at=Now()))
ask("sqlsequencereset", lambda: [connection.cursor().execute(s)
                                 for s in connection.ops.sequence_reset_sql(no_style(), [User])] and "done")
ask("AddField", lambda: rolled_back(lambda: alter(models.TextField, "extra")))
ask("flush", lambda: rolled_back(lambda: connection.cursor().execute(
    connection.ops.sql_flush(no_style(), ["users", "orders"])[0])))
