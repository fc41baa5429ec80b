"""Locations: what others see of them, who is near, and what cannot be found out by asking."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pytest

from stack.services import Services
from tests.harness.people import Api, Member, Person, code_of, enroll
from tests.harness.server import Database

ZAGREB = (45.8150, 15.9819)
EARTH_KM = 6371.0


@pytest.fixture(scope="module")
def crowd(services: Services, database: Database) -> list[Member]:
    return enroll(services, database, 14)


def put(person: Member, lat: float | None, lon: float | None, **more: Any) -> httpx.Response:
    place = {"source": "ip", "city": "Zagreb", "country": "Croatia", **more}
    return person.api.rpc("set_my_location", lat=lat, lon=lon, **place)


def near(person: Member, lat: float, lon: float, radius_km: float = 50, **more: Any) -> list[dict[str, Any]]:
    answer = person.api.rpc("nearby_profiles", lat=lat, lon=lon, radius_km=radius_km, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def distances(person: Member, subject: Member, lat: float, lon: float, radius_km: float = 50) -> list[int]:
    rows = near(person, lat, lon, radius_km, max_rows=100)
    return [row["distance_km"] for row in rows if row["id"] == subject.id]


def location(viewer: Api, subject: Member) -> Any:
    rows = viewer.select("profiles", id=f"eq.{subject.id}", select="location")
    return rows[0]["location"] if rows else "no profile"


def kilometres(a: tuple[float, float], b: tuple[float, float]) -> float:
    lat_a, lon_a, lat_b, lon_b = (math.radians(degrees) for degrees in (*a, *b))
    cosine = math.sin(lat_a) * math.sin(lat_b) + math.cos(lat_a) * math.cos(lat_b) * math.cos(lon_a - lon_b)
    return EARTH_KM * math.acos(min(1.0, cosine))


def test_levels(crowd: list[Member], anon: Api, admin: Person) -> None:
    subject, viewer = crowd[0], crowd[1]
    assert location(anon, subject) is None
    stored = put(subject, *ZAGREB).json()
    assert stored["visibility"] == "city"
    assert 0.001 < kilometres((stored["latitude"], stored["longitude"]), ZAGREB) < 12
    city = {"visibility": "city", "city": "Zagreb", "country": "Croatia", "latitude": None, "longitude": None}
    for who in (anon, viewer.api, admin.api):
        assert location(who, subject) == city
    # The row itself is its owner's.
    assert viewer.api.select("profile_locations") == admin.api.select("profile_locations") == []
    assert anon.http.get("/rest/v1/profile_locations").status_code == 401
    assert distances(viewer, subject, *ZAGREB) == [10]
    assert subject.api.rpc("set_my_location_visibility", visibility="country").is_success
    assert location(viewer.api, subject) == {**city, "visibility": "country", "city": None}
    assert distances(viewer, subject, *ZAGREB) == []
    assert subject.api.rpc("set_my_location_visibility", visibility="hidden").is_success
    assert location(viewer.api, subject) is None
    assert distances(viewer, subject, *ZAGREB) == []
    assert subject.api.one("profile_locations")["visibility"] == "hidden"
    assert subject.api.rpc("clear_my_location").is_success
    assert subject.api.select("profile_locations") == []


def test_gps_is_paid(crowd: list[Member], admin: Person) -> None:
    subject, viewer = crowd[2], crowd[1]
    exact = {"source": "gps", "visibility": "exact"}
    answer = put(subject, *ZAGREB, **exact)
    assert (answer.status_code, code_of(answer)) == (403, "gps_not_in_plan")
    assert admin.api.rpc("set_subscription", user_id=subject.id, plan_key="creator_standard").is_success
    assert code_of(put(subject, *ZAGREB, source="manual", visibility="exact")) == "exact_needs_gps"
    assert put(subject, 45.812345, 15.987654, **exact).is_success
    shown = location(viewer.api, subject)
    assert (shown["visibility"], shown["latitude"], shown["longitude"]) == ("exact", 45.812, 15.988)
    assert distances(viewer, subject, 45.812, 15.988, 2) == [1]
    # The plan ends: at the next request there is a city only.
    assert admin.api.rpc("set_subscription", user_id=subject.id, plan_key="creator_basic").is_success
    shown = location(viewer.api, subject)
    assert (shown["visibility"], shown["latitude"]) == ("city", None)
    assert distances(viewer, subject, 45.812, 15.988, 2) == [10]


def test_only_who_may_be_seen_is_near(crowd: list[Member], admin: Person, anon: Api) -> None:
    subject, viewer = crowd[3], crowd[4]
    assert put(subject, -33.86, 151.2).is_success

    def found() -> bool:
        return bool(distances(viewer, subject, -33.86, 151.2))

    assert found()
    subject.api.rpc("set_profile_visibility", visibility="private")
    assert not found()
    assert location(viewer.api, subject) == "no profile"
    subject.api.rpc("set_profile_visibility", visibility="members_only")
    assert found()
    assert location(anon, subject) == "no profile"
    for who, whom in ((viewer, subject), (subject, viewer)):
        assert who.api.http.post("/rest/v1/user_blocks", json={"blocked_id": whom.id}).status_code == 201
        assert not found()
        assert location(viewer.api, subject) == "no profile"
        assert who.api.http.delete(f"/rest/v1/user_blocks?blocked_id=eq.{whom.id}").status_code == 204
        assert found()
    assert admin.api.rpc("ban_user", user_id=subject.id, reason="spam").is_success
    assert not found()
    assert admin.api.rpc("unban_user", user_id=subject.id).is_success
    assert admin.api.rpc("ban_user", user_id=viewer.id, reason="spam").is_success
    assert code_of(viewer.api.rpc("nearby_profiles", lat=0, lon=0)) == "banned"
    assert anon.rpc("nearby_profiles", lat=0, lon=0).status_code == 401


def test_pages(crowd: list[Member]) -> None:
    people = crowd[5:12]
    for number, person in enumerate(people):
        assert put(person, 10 + number / 20, 20).is_success
    viewer = crowd[1]
    everybody = near(viewer, 10, 20, 500, max_rows=100)
    assert {row["id"] for row in everybody} == {person.id for person in people}
    for size in (1, 2, 5):
        rows: list[dict[str, Any]] = []
        page = near(viewer, 10, 20, 500, max_rows=size)
        while page:
            rows += page
            after = {"after_distance_km": page[-1]["distance_km"], "after_id": page[-1]["id"]}
            page = near(viewer, 10, 20, 500, max_rows=size, **after)
        assert rows == everybody


def test_two_in_one_cell_cannot_be_told_apart(crowd: list[Member]) -> None:
    """Whatever is asked, the same person answers the same from either corner of the cell."""
    subject, viewer = crowd[12], crowd[1]
    # 48.2 to 48.3 north; both ends of one cell.
    homes = [(48.2061, 16.3512), (48.2899, 16.4301)]
    questions = [
        (48.25 + math.sin(n) * n / 100, 16.4 + math.cos(n) * n / 100, 1 + n * 7 % 60 + n % 3 / 3) for n in range(150)
    ]
    transcripts = []
    for home in homes:
        subject.api.rpc("clear_my_location")
        assert put(subject, *home, city="Vienna", country="Austria").is_success
        answers = [distances(viewer, subject, *question) for question in questions]
        transcripts.append((answers, location(viewer.api, subject)))
    assert transcripts[0] == transcripts[1]
    assert {len(answer) for answer in transcripts[0][0]} == {0, 1}, "the questions both find and miss"


def test_trilateration_finds_the_cell_and_no_more(crowd: list[Member], database: Database) -> None:
    """Bisect the radius at which somebody appears, from six places: it is always the distance of the cell's centre."""
    subject, viewer = crowd[13], crowd[1]
    home = (47.0612, 8.3499)
    assert put(subject, *home, city="Lucerne", country="Switzerland").is_success
    centre = tuple(database.value("select private.cell_centre(%s, %s)", *home))
    assert kilometres(centre, home) > 3
    for bearing in range(6):
        place = (47.05 + 0.5 * math.sin(bearing), 8.3 + 0.7 * math.cos(bearing))
        low, high = 10.0, 200.0
        while high - low > 0.01:
            middle = (low + high) / 2
            if distances(viewer, subject, *place, middle):
                high = middle
            else:
                low = middle
        assert high == pytest.approx(kilometres(place, centre), abs=0.02)
