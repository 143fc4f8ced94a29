# An OAuth 2.0 server that others wrote, for oauthtoolkit_test.go: python3 main.py DIRECTORY '{"redirect_uri": …, "secret": …}'.
# Pages, PKCE, codes and tokens are Django OAuth Toolkit's; /me is what such a server says about its users in its own way. It prints
# its address. Everybody's password is "password".
import json
import os
import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # http on loopback

import django
from django.conf import settings

directory, given = sys.argv[1], json.loads(sys.argv[2])

settings.configure(
    SECRET_KEY="only for a test",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    LOGIN_URL="/accounts/login/",
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(directory, "db.sqlite3")}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "oauth2_provider"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    TEMPLATES=[{
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "context_processors": ["django.template.context_processors.request"],
            "loaders": [
                ("django.template.loaders.locmem.Loader", {
                    "login.html": '<h1>Sign in</h1><form method="post">{% csrf_token %}{{ form }}<button>Go</button></form>',
                }),
                "django.template.loaders.app_directories.Loader",
            ],
        },
    }],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    OAUTH2_PROVIDER={"PKCE_REQUIRED": True, "SCOPES": {"read": "Read who you are", "write": "Write"}},
)
django.setup()

from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.core.management import call_command
from django.http import JsonResponse
from django.urls import include, path
from oauth2_provider.decorators import protected_resource
from oauth2_provider.models import Application


@protected_resource(scopes=["read"])
def me(request):
    user = request.resource_owner
    return JsonResponse({"user": {"number": user.pk, "login": user.username, "mail": user.email, "full_name": user.get_full_name()}})


urlpatterns = [
    path("accounts/login/", LoginView.as_view(template_name="login.html")),
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    path("me", me),
]

call_command("migrate", verbosity=0)
for name in ["Alice", "bob"]:
    User.objects.create_user(name, name + "@toolkit.example", "password", first_name=name, last_name="of Toolkit")
Application.objects.create(
    name="The broker", client_id="broker", client_secret=given["secret"], redirect_uris=given["redirect_uri"],
    client_type=Application.CLIENT_CONFIDENTIAL, authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
)


class Handler(WSGIRequestHandler):
    def log_message(self, form, *args):
        print(form % args, flush=True)


from django.core.wsgi import get_wsgi_application

server = make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Handler)
print("listens at http://127.0.0.1:%d." % server.server_port, flush=True)
server.serve_forever()
