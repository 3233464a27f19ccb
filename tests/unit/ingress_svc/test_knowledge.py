from hypothesis import given
from hypothesis import strategies as st
from ingress_svc.domain.knowledge import MAX_PASSAGE_CHARS, MAX_POSTINGS, KnowledgeBase, Passage, passages_of, words_of

MENU = """# Trattoria Uno

We are a family restaurant by the river.

## Opening hours

We are open from 17:00 to 23:00, every day but Monday.

## Parking

There is a car park behind the house. It costs nothing in the evening.

## Café

Our café serves breakfast on Sunday.
"""
BASE = KnowledgeBase(passages_of("menu.md", MENU))


def found(question: str) -> list[str]:
    return [each.passage.name for each in BASE.search(question)]


def test_a_passage_is_found_by_its_words_and_its_heading() -> None:
    assert found("Where is parking?")[0] == "menu.md#3"
    assert found("when are you open on Monday")[0] == "menu.md#2"
    assert BASE.search("opening hours?")[0].passage.text.startswith("Opening hours\nWe are open")


def test_case_and_accents_do_not_count() -> None:
    assert found("CAFE") == found("café") == ["menu.md#4"]


def test_nothing_is_found_where_no_word_is_known() -> None:
    assert BASE.search("xylophone") == BASE.search("") == BASE.search("?!") == []
    assert KnowledgeBase([]).search("open") == []


def test_similarity_is_a_share_and_the_best_comes_first() -> None:
    similar = [each.similarity for each in BASE.search("car park river breakfast")]
    assert similar == sorted(similar, reverse=True)
    assert all(0 < share <= 1 for share in similar)


def test_what_has_too_little_of_the_question_is_left_out() -> None:
    passages = list(passages_of("menu.md", MENU))
    strict = KnowledgeBase(passages, least_similarity=0.9)
    assert strict.search("car park river breakfast evening hours monday") == []
    assert len(KnowledgeBase(passages, most=1, least_similarity=0).search("we are open")) == 1


def test_a_word_that_is_rare_counts_more_than_one_that_is_everywhere() -> None:
    base = KnowledgeBase([Passage("a", "the the the house"), Passage("b", "the river"), Passage("c", "the garden")])
    assert base.search("the river")[0].passage.name == "b"


def test_a_search_looks_at_so_many_places_and_at_those_of_rare_words_first() -> None:
    base = KnowledgeBase([Passage(str(number), f"the and word{number}") for number in range(MAX_POSTINGS)])
    assert [each.passage.name for each in base.search("the word77")] == ["77"]
    assert len(base.search("the and")) == 3


@given(st.text(max_size=3_000))
def test_every_word_of_a_file_is_in_its_passages_and_none_is_long(text: str) -> None:
    passages = list(passages_of("f", text))
    assert all(0 < len(passage.text) <= MAX_PASSAGE_CHARS * 1.5 for passage in passages)
    assert len({passage.name for passage in passages}) == len(passages)
    if "#" not in text and not any(len(word) > 300 for word in text.split()):
        kept = [word for passage in passages for word in words_of(passage.text)]
        assert kept == words_of(text)


@given(st.lists(st.text(max_size=200), max_size=5), st.text(max_size=200))
def test_any_question_to_any_passages_has_an_answer(texts: list[str], question: str) -> None:
    base = KnowledgeBase([Passage(str(number), text) for number, text in enumerate(texts)])
    assert all(0 <= each.similarity <= 1 for each in base.search(question))
