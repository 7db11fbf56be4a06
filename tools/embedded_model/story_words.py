"""The keywords of the story writer by kind, and the sentences in which each kind may stand.

Data only; ``stories.py`` reads it. {k} is the keyword, {K} the same in a title, {hero} a first
name, {he} its pronoun.
"""

from __future__ import annotations

KEYWORDS = {
    "animal": (
        "cat dog horse fox owl rabbit bear wolf turtle parrot donkey goat sheep duck goose swan whale dolphin seal "
        "penguin monkey elephant tiger lion camel deer squirrel hedgehog mouse frog spider butterfly bee crow eagle "
        "pigeon robin crab snail dragon"
    ).split(),
    "thing": (
        "lantern clock key map letter mirror umbrella compass candle ring coin box basket ladder rope hammer kite "
        "lamp book diary photograph painting violin guitar drum flute piano bell whistle telescope camera radio "
        "telephone suitcase blanket pillow scarf coat hat shoe button needle thread spoon cup teapot bottle plate "
        "knife axe bucket broom wheel engine robot computer puzzle doll ball balloon ticket stamp pencil notebook "
        "chair table carpet curtain crown sword shield necklace feather stone shell"
    ).split(),
    "place": (
        "harbor market library castle bridge garden forest village station lighthouse museum school bakery island "
        "valley desert mountain beach farm tower palace temple kitchen attic cellar street square park cafe theater "
        "hospital airport factory workshop meadow lake river cave mill church cottage orchard stadium hotel office"
    ).split(),
    "person": (
        "baker sailor teacher doctor farmer painter tailor singer dancer writer pilot captain king queen prince "
        "princess knight wizard merchant fisherman gardener carpenter librarian postman nurse judge lawyer engineer "
        "scientist student neighbor stranger grandmother grandfather uncle aunt twin shepherd clown detective"
    ).split(),
    "food": (
        "bread soup cake honey cheese apple pear cherry orange lemon melon grape pie pancake noodle rice tea coffee "
        "chocolate milk butter egg onion carrot pumpkin tomato potato mushroom salt pepper cinnamon sandwich"
    ).split(),
    "nature": (
        "rain snow storm wind fog thunder lightning rainbow sunrise sunset moon star cloud wave tide ice fire smoke "
        "shadow spring summer autumn winter midnight dawn comet waterfall flower rose tree leaf"
    ).split(),
    "idea": (
        "secret promise dream wish courage hope patience friendship adventure journey riddle song dance game story "
        "memory mistake surprise gift lesson treasure contest festival birthday wedding holiday dinner silence "
        "laughter luck freedom idea"
    ).split(),
    "vehicle": "train boat ship bicycle bus car truck plane rocket sled wagon ferry tram taxi canoe raft".split(),
}
SENTENCES = {
    "animal": (
        "Near the road {he} met a hungry {k} and shared some food with it.",
        "A small {k} followed {hero} all day.",
        "Then a {k} came closer and looked at {hero}.",
        "Everyone laughed when the {k} ran away with a sock.",
    ),
    "thing": (
        "On the ground lay an old {k} that nobody wanted.",
        "{hero} carefully picked up the {k} and looked at it.",
        "In a dusty corner {he} found a strange {k}.",
        "The {k} was small, but it was worth more than gold.",
    ),
    "place": (
        "The way led to the {k}, where it was very quiet.",
        "At the {k} there was nobody to be seen.",
        "{hero} had never been at the {k} before.",
        "In the afternoon {he} came to the {k}.",
    ),
    "person": (
        "There {he} met a {k} who needed help.",
        "An old {k} smiled and told {hero} what to do.",
        "The {k} knew more than anyone had thought.",
        "Only the {k} believed what {hero} said.",
    ),
    "food": (
        "The air smelled of {k}, and {hero} became hungry.",
        "For lunch there was {k}, as on every day.",
        "{hero} shared the {k} with everyone.",
        "A little {k} was all that was left.",
    ),
    "nature": (
        "Outside there was the {k}, more beautiful than ever.",
        "Nobody had thought of the {k}.",
        "Suddenly {he} noticed the {k} and stood still.",
        "All at once the {k} changed everything.",
    ),
    "idea": (
        "It was the beginning of a {k} that {hero} never forgot.",
        "They talked about the {k} until late at night.",
        "What {he} wanted most of all was a {k}.",
        "For {hero} the {k} mattered more than money.",
    ),
    "vehicle": (
        "The {k} was late, but nobody was angry.",
        "{hero} took the {k} and left without a word.",
        "A {k} stopped, and the door opened slowly.",
        "From the {k} one could see the whole land.",
    ),
    "unknown": (
        "Everybody was talking about the {k}.",
        "Then {hero} saw the {k} for the first time.",
        "Nobody could explain the {k}.",
    ),
}
OPENINGS = (
    "One morning {hero} woke up early and went out.",
    "{hero} lived in a small house at the edge of the town.",
    "It was a day like any other when {hero} left home.",
    "Long ago there was a child whose name was {hero}.",
)
ENDINGS = (
    "In the evening {hero} went home and was happy.",
    "From that day on nothing was as before.",
    "And so it all came to a good end.",
    "{hero} still tells this story today.",
)
TITLES = (
    "The {K1} and the {K2}",
    "The {K1}",
    "{hero} and the {K1}",
    "{hero} and the {K2}",
    "The Secret of the {K1}",
)
HEROES = (
    ("Mara", "she"), ("Tom", "he"), ("Lina", "she"), ("Ben", "he"), ("Nora", "she"), ("Finn", "he"),
    ("Ella", "she"), ("Jonas", "he"), ("Ida", "she"), ("Theo", "he"), ("Mei", "she"), ("Karl", "he"),
)  # fmt: skip
SYLLABLES = (
    "ba be bo ca co da do fa fi ga go ha ho ja jo ka ke la li lo ma mi mo na no pa pe ra ri ro sa se so ta ti to "
    "va vi wa wo ya za zo bran crel drim flon glar krim plet prin skel stram thor tron wick"
).split()
