"""Spanish, for the scripted agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from llm_svc.domain.speech import (
    Clock,
    Day,
    Found,
    Intent,
    Mention,
    Phrases,
    Slot,
    Word,
    first_at,
    has,
    listed,
    name_from,
    number_at,
    on_24_hours,
    plain_at,
)

_UNITS = {
    word: value
    for value, word in enumerate(
        listed(
            "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciseis "
            "diecisiete dieciocho diecinueve veinte veintiuno veintidos veintitres veinticuatro veinticinco"
        )
    )
} | {"un": 1, "una": 1, "treinta": 30, "cuarenta": 40, "cincuenta": 50}
_NUMBERS_SAID = listed("cero una dos tres cuatro cinco seis siete ocho nueve diez once doce")
_MONTHS = (
    "enero",
    "febrero",
    "marzo",
    "abril",
    "mayo",
    "junio",
    "julio",
    "agosto",
    "septiembre",
    "octubre",
    "noviembre",
    "diciembre",
)
_WEEKDAYS = {
    "lunes": ("monday", "lunes"),
    "martes": ("tuesday", "martes"),
    "miercoles": ("wednesday", "miércoles"),
    "jueves": ("thursday", "jueves"),
    "viernes": ("friday", "viernes"),
    "sabado": ("saturday", "sábado"),
    "domingo": ("sunday", "domingo"),
}
_SAID_WEEKDAY = dict(_WEEKDAYS.values())
_SAID_DAY = {"today": "hoy", "tonight": "esta noche", "tomorrow": "mañana", "overmorrow": "pasado mañana"}
_PEOPLE = frozenset(listed("personas persona comensales comensal adultos adulto ninos ninas nino nina amigos amigas"))
_TIME_LEADS = ("a eso de las", "a las", "a la", "sobre las", "hacia las", "para las", "mejor las", "las")
_PARTY_LEADS = ("mesa para", "reserva para", "grupo de", "para", "somos", "seremos", "seriamos", "vamos a ser")
_NAME_LEADS = ("me llamo", "mi nombre es", "el nombre es", "a nombre de", "al nombre de", "soy")
_NAME_ENDS = frozenset(
    listed(
        "a y o el la los las un una de para por en con no si gracias favor hoy esta noche manana es son somos "
        "soy quiero quisiera que cuando donde como cuanto mesa reserva pero mejor espera perdon hola adios "
        "vale claro bueno bien aqui yo tu mi su me te se lo al del perfecto correcto ahora luego nada mas"
    )
) | frozenset((*_WEEKDAYS, *_MONTHS, *_UNITS))
_PARTICLES = frozenset(listed("de del la los las van von da"))

_QUESTION_PARTY = "¿Cuántas personas serán?"
_QUESTION_DAY = "¿Qué día les gustaría venir?"
_QUESTION_TIME = "¿A qué hora les vendría bien?"
_QUESTION_NAME = "¿A qué nombre hago la reserva?"

_PHRASES = Phrases(
    ask={
        (Slot.PARTY, Slot.DAY, Slot.TIME): "¿Cuántas personas serán, qué día y a qué hora les vendría bien?",
        (Slot.PARTY, Slot.DAY): "¿Cuántas personas serán y qué día les gustaría venir?",
        (Slot.PARTY, Slot.TIME): "¿Cuántas personas serán y a qué hora les vendría bien?",
        (Slot.DAY, Slot.TIME): "¿Qué día les gustaría venir y a qué hora?",
        (Slot.PARTY,): _QUESTION_PARTY,
        (Slot.DAY,): _QUESTION_DAY,
        (Slot.TIME,): _QUESTION_TIME,
        (Slot.NAME,): _QUESTION_NAME,
    },
    confirm="¿Confirmo la reserva?",
    anything_else="¿Puedo ayudarle en algo más?",
    welcome="Gracias por llamar. Puedo reservarle una mesa para esta noche o para otro día. {ask}",
    hello="Hola, gracias por llamar. Puedo reservarle una mesa. {ask}",
    accept="Perfecto, se lo puedo reservar: {table}. {ask}",
    noted="Muy bien, por ahora tengo {table}. {ask}",
    change="De acuerdo, lo cambiamos. {ask}",
    changed="Muy bien, {change} entonces. Sería {table}. {ask}",
    thank_name="Gracias, {name}. Entonces sería {table}. {ask}",
    booked="Estupendo, su reserva está hecha: {table}. Les esperamos con mucho gusto. {ask}",
    cancelled="No se preocupe, he anulado esa reserva. Si cambia de idea, dígame solo el día y la hora.",
    bye_booked="Gracias por llamar. Les esperamos {when}. ¡Hasta luego!",
    bye_open="Gracias por llamar. Todavía no hay nada reservado, así que llame cuando quiera. ¡Hasta luego!",
    thanks_booked="De nada, ha sido un placer. Su reserva es {table}. {ask}",
    thanks_open="De nada, con mucho gusto. {ask}",
    wait="Claro, tómese su tiempo. Dígame cuando esté listo, le escucho.",
    what_to_change="De acuerdo, entonces lo dejo abierto. ¿Qué quiere cambiar: el día, la hora o el número de "
    "personas?",
    say_again="Claro, se lo repito: tengo {table}. {ask}",
    say_again_empty="Claro. Puedo reservarle una mesa. {ask}",
    other="Lo siento, en esta línea solo puedo ayudarle con las reservas. Mis compañeros del restaurante le dirán lo "
    "demás. {ask}",
    puzzled="Perdone, no le he entendido bien. Puedo reservarle una mesa. {ask}",
    puzzled_so_far="Perdone, no le he entendido bien. Por ahora tengo {table}. {ask}",
)


class Spanish:
    """Implements `llm_svc.domain.speech.Language`."""

    hints: ClassVar = frozenset(
        listed(
            "el la los las un una de que es para por favor quiero quisiera queria necesito mesa reserva reservar "
            "personas esta noche manana hoy hola gracias si mi nombre llamo soy somos hora espera perdon adios "
            "hasta luego vale claro mejor y con al mediodia medianoche tarde lunes martes miercoles jueves "
            "viernes sabado domingo dos tres cuatro cinco seis siete ocho nueve"
        )
    )
    phrases: ClassVar = _PHRASES
    cues: ClassVar[Mapping[Slot, Sequence[str]]] = {
        Slot.PARTY: ("cuantas personas", "cuantos"),
        Slot.DAY: ("que dia", "para cuando"),
        Slot.TIME: ("que hora", "a que hora", "para cuando"),
        Slot.NAME: ("que nombre", "su nombre"),
    }
    topics: ClassVar[Mapping[Slot, Sequence[str]]] = {
        Slot.PARTY: ("numero de personas", "el numero", "cuantos"),
        Slot.DAY: ("el dia", "la fecha"),
        Slot.TIME: ("la hora",),
        Slot.NAME: ("el nombre",),
    }
    not_names: ClassVar = _NAME_ENDS | frozenset(listed("hola buenas perdone disculpe eh pues bien senor senora"))

    def find(self, words: Sequence[Word], at: int) -> Found | None:
        denied = first_at(words, at, ("en vez de", "en lugar de"))
        if denied:
            skipped = len(denied.split())
            inner = self.find(words, at + skipped) if at + skipped < len(words) else None
            return Found(None, skipped + inner.used) if inner else None
        return _time(words, at) or _party(words, at) or _day(words, at) or _name(words, at) or _bare(words, at)

    def intents(self, words: Sequence[Word]) -> frozenset[Intent]:
        return frozenset(intent for intent, phrases in _INTENTS.items() if has(words, phrases))

    def say_time(self, time: Clock) -> str:
        if time == Clock(12):
            return "mediodía"
        if time == Clock(0):
            return "medianoche"
        hour = (time.hour - 1) % 12 + 1
        minutes = f":{time.minute:02d}" if time.minute else ""
        part = "de la mañana" if time.hour < 12 else "de la tarde" if time.hour < 20 else "de la noche"
        return f"{'la' if hour == 1 else 'las'} {hour}{minutes} {part}"

    def say_day(self, day: Day) -> str:
        if day.word == "date":
            return f"el {day.number} de {_MONTHS[day.month - 1]}" if day.month else f"el día {day.number}"
        if day.word in _SAID_WEEKDAY:
            return f"el {'próximo ' if day.coming else ''}{_SAID_WEEKDAY[day.word]}"
        return _SAID_DAY[day.word]

    def say_table(self, party: int | None, day: Day | None, time: Clock | None, name: str | None) -> str:
        parts = ["una mesa"]
        parts += [f"para {_say_number(party)}"] if party else []
        parts += [self.say_day(day)] if day else []
        parts += [f"a {self.say_time(time)}"] if time else []
        return " ".join(parts) + (f", a nombre de {name}" if name else "")

    def say_slot(self, slot: Slot, party: int | None, day: Day | None, time: Clock | None, name: str | None) -> str:
        if slot is Slot.PARTY and party:
            return f"{_say_number(party)} {'persona' if party == 1 else 'personas'}"
        if slot is Slot.DAY and day:
            return self.say_day(day)
        return f"a {self.say_time(time)}" if slot is Slot.TIME and time else name or ""


_INTENTS = {
    Intent.YES: (
        *listed("si claro correcto exacto perfecto vale ok"),
        "de acuerdo",
        "adelante",
        "esta bien",
    ),
    Intent.NO: ("no", "que no"),
    Intent.WAIT: ("espera", "espere", "un momento", "un segundo", "para para", "alto", "dejame pensar"),
    Intent.CANCEL: (
        *listed("cancela cancele cancelar anula anule anular dejalo dejelo"),
        "olvidalo",
        "olvidelo",
        "da igual",
        "he cambiado de idea",
    ),
    Intent.THANKS: ("gracias",),
    Intent.GOODBYE: ("adios", "hasta luego", "hasta pronto", "hasta manana", "nada mas", "eso es todo", "chao"),
    Intent.REPEAT: ("repita", "repite", "repetir", "como dice", "como ha dicho", "que ha dicho"),
    Intent.HELLO: ("hola", "buenas", "buenos dias", "buenas tardes", "buenas noches"),
    Intent.OTHER: (
        *listed(
            "menu carta aparcamiento vegano vegana vegetariano vegetariana alergia celiaco direccion precio precios"
        ),
        "una persona real",
        "un humano",
        "cuanto cuesta",
        "donde estan",
        "a que hora abren",
    ),
}


def _number(words: Sequence[Word], at: int) -> tuple[int, int]:
    number, used = number_at(words, at, _UNITS, {})
    unit = _UNITS.get(plain_at(words, at + 2), 0)
    if number in (30, 40, 50) and plain_at(words, at + 1) == "y" and 1 <= unit <= 9:
        return number + unit, 3
    return number, used


def _time(words: Sequence[Word], at: int) -> Found | None:
    for word, hour in (("mediodia", 12), ("medianoche", 0)):
        start = at + 1 if plain_at(words, at) in ("al", "a") else at
        if plain_at(words, start) == word:
            return Found(Mention(Slot.TIME, Clock(hour)), start + 1 - at)
    lead = first_at(words, at, _TIME_LEADS)
    start = at + len(lead.split()) if lead else at
    spoken = _clock(words, start)
    if spoken is None:
        return None
    hour, minute, used, sure = spoken
    half, more = _half_of_day(words, start + used)
    if not (lead or sure or half) or (plain_at(words, start + used) in _PEOPLE):
        return None
    time = on_24_hours(hour, minute, half)
    return Found(Mention(Slot.TIME, time), start - at + used + more) if time else None


def _clock(words: Sequence[Word], at: int) -> tuple[int, int, int, bool] | None:
    """Return hour, minute, words used, and whether it shows by itself that it is a time."""
    if ":" in plain_at(words, at):
        hour, minute = plain_at(words, at).split(":")
        return int(hour), int(minute), 1, True
    number, used = _number(words, at)
    if not used or not 0 <= number <= 23:
        return None
    link = plain_at(words, at + used)
    named = {"media": 30, "cuarto": 15}.get(plain_at(words, at + used + 1), -1)
    minutes, more = (named, 1) if named > 0 else _number(words, at + used + 1)
    if link == "y" and more and 0 < minutes < 60:
        return number, minutes, used + 1 + more, named > 0
    if link == "menos" and more and 0 < minutes < 60:
        return (number - 2) % 12 + 1, 60 - minutes, used + 1 + more, True
    return number, 0, used, False


def _half_of_day(words: Sequence[Word], at: int) -> tuple[str, int]:
    said = first_at(
        words, at, ("am", "pm", "de la manana", "por la manana", "de la tarde", "de la noche", "del mediodia")
    )
    if said is None:
        return "", 0
    return ("am" if said in ("am", "de la manana", "por la manana") else "pm"), len(said.split())


def _party(words: Sequence[Word], at: int) -> Found | None:
    alone = first_at(words, at, ("solo yo", "yo solo", "yo sola", "para mi"))
    if alone:
        return Found(Mention(Slot.PARTY, 1), len(alone.split()))
    lead = first_at(words, at, _PARTY_LEADS)
    start = at + len(lead.split()) if lead else at
    number, used = _number(words, start)
    counted = plain_at(words, start + used) in _PEOPLE
    if not 1 <= number <= 60 or not (lead or counted) or (number == 1 and not counted):
        return None
    end = start + used + counted
    more, taken = _number(words, end + 1) if counted and plain_at(words, end) == "y" else (-1, 0)
    if more > 0 and plain_at(words, end + 1 + taken) in _PEOPLE:
        return Found(Mention(Slot.PARTY, number + more), end + 2 + taken - at)
    return Found(Mention(Slot.PARTY, number), end - at)


def _day(words: Sequence[Word], at: int) -> Found | None:
    said = first_at(words, at, ("pasado manana", "hoy por la noche", "esta noche", "esta tarde", "hoy", "manana"))
    if said:
        word = {"pasado manana": "overmorrow", "esta tarde": "today", "hoy": "today", "manana": "tomorrow"}
        used = len(said.split())
        part = first_at(words, at + used, ("por la noche", "por la tarde", "al mediodia"))
        return Found(Mention(Slot.DAY, Day(word.get(said, "tonight"))), used + (len(part.split()) if part else 0))
    start = at + 1 if plain_at(words, at) in ("el", "este") else at
    coming = plain_at(words, start) == "proximo"
    if plain_at(words, start + coming) in _WEEKDAYS:
        end = start + coming + 1
        later = first_at(words, end, ("que viene", "proximo"))
        word_en = _WEEKDAYS[plain_at(words, start + coming)][0]
        day = Day(word_en, coming or later is not None)
        return Found(Mention(Slot.DAY, day), end + (len(later.split()) if later else 0) - at)
    start += plain_at(words, start) == "dia"
    number, used = _number(words, start)
    if not used or not 1 <= number <= 31:
        return None
    if plain_at(words, start + used) == "de" and plain_at(words, start + used + 1) in _MONTHS:
        month = _MONTHS.index(plain_at(words, start + used + 1)) + 1
        return Found(Mention(Slot.DAY, Day("date", number=number, month=month)), start + used + 2 - at)
    if plain_at(words, start - 1) == "dia":
        return Found(Mention(Slot.DAY, Day("date", number=number)), start + used - at)
    return None


def _name(words: Sequence[Word], at: int) -> Found | None:
    lead = first_at(words, at, _NAME_LEADS)
    if lead is None:
        return None
    start = at + len(lead.split())
    name, used = name_from(words, start, _NAME_ENDS - _PARTICLES, _PARTICLES)
    # "Soy vegetariano": after a loose lead only what is written like a name counts as one.
    if not name or (lead == "soy" and not words[start].spoken[0].isupper()):
        return None
    return Found(Mention(Slot.NAME, name), start - at + used)


def _bare(words: Sequence[Word], at: int) -> Found | None:
    """A number alone; "un" and "una" are articles."""
    number, used = _number(words, at)
    if not 1 <= number <= 23 or words[at].plain in ("un", "una", "uno"):
        return None
    return Found(Mention(None, number), used)


def _say_number(number: int) -> str:
    return _NUMBERS_SAID[number] if number <= 12 else str(number)
