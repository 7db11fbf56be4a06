"""What stands around the problem of a ticket: greetings, cues of urgency, asides, and slot values.

Data only. The asides are distractors: they mention what other teams do, but as something that went
well or is over, so that a model which looks for single words goes wrong.
"""

from __future__ import annotations

OPENINGS = (
    "[Hello|Hi|Good morning|Good evening|Dear team|Dear support|Hi there|Hello everyone],",
    "[Hello|Hi|Hey]!",
    "[Good day|Dear sir or madam|To whom it may concern],",
)
# {fact} is the clause; {Fact} the same with a capital letter.
FRAMES = (
    "{Fact}.",
    "{Fact}.",
    "[I am writing because|I write to you because|I contact you because] {fact}.",
    "[My problem is that|The problem is that|The reason for my message is that] {fact}.",
    "[Unfortunately|Sadly|It seems that|I just noticed that|As it turns out,] {fact}.",
    "[Just so you know,|To be brief,|In short,|Once more:] {fact}.",
    "[My wife|My husband|My colleague|My boss|My daughter] [says that|tells me that|noticed that] {fact}.",
)
FOLLOW_UPS = (
    "[Please|Could you please] [look into this|take care of this|help me with this|see to it].",
    "[What can I do?|What should I do?|What happens next?|Can you help?|How do we go on?]",
    "[I hope|I trust] [you can help|that you can help me|this can be solved].",
    "[Tell me|Let me know|Please tell me|Please let me know] what [you need from me|to do|the next step is].",
)
HIGH = (
    "[This is|It is] [urgent|very urgent|extremely urgent|an emergency].",
    "[I need|We need] [an answer|a solution|help|this solved] [today|right now|immediately|within the hour|at once].",
    "Please [answer|reply|act|respond] [immediately|as soon as possible|right away|as fast as you can].",
    "[We cannot work|I cannot work|Our business stands still|We are losing money|We lose customers] [until this is solved|because of this|every hour].",
    "[It cannot wait|This cannot wait|Do not let this wait] until [tomorrow|next week|Monday].",
    "[The deadline is|My deadline is|Our deadline is] [today|tonight|in two hours|this afternoon].",
    "[I am furious|I am very angry], [this must be solved now|solve this now|act at once].",
    "[Treat this as|Please treat this as|Handle this as] [top priority|a priority|most urgent].",
)
LOW = (
    "[This is|It is] not urgent[.| at all.]",
    "[There is no hurry|There is no rush|No hurry|No rush|No need to hurry][.| at all.]",
    "[Take your time|Please take your time][.|, it can wait.]",
    "[Answer|Reply|Get back to me] [whenever you have time|when you find a minute|some time next week|when it suits you].",
    "[It can wait|This can wait|It may well wait] until [next week|next month|you have time|after the holidays].",
    "[I am only|I am just] [curious|asking out of interest|wondering].",
    "[It is only a small thing|This is a minor matter|It is nothing important|It is not a big deal].",
    "[Any time this month|Some time in the next weeks|Whenever it is convenient] is [fine|early enough|good] for me.",
)
ASIDES = (
    "[By the way,|Apart from that,|Otherwise] [the delivery was quick|the last parcel came on time|the courier was friendly].",
    "[By the way,|Apart from that,|Otherwise] [the last invoice was correct|paying was easy|the refund in spring was fast].",
    "[By the way,|Apart from that,|Otherwise] [the app works well|your website looks nice|the update went fine].",
    "[By the way,|Apart from that,|Otherwise] [signing in works|my password is fine|my profile is in order].",
    "[By the way,|Apart from that,|Otherwise] [your sales team was helpful|the demo was great|the offer was fair].",
    "[I have been|We have been] [a customer|your customer|with you] [for three years|for ten years|since the spring|for a long time].",
    "[I am usually happy|We are usually happy|In general I am pleased] with your [service|products|shop|company].",
    "[I have already called|I already wrote|I talked to] [your hotline|your colleague|the chat robot] [twice|yesterday|last week|without success].",
    "[The weather here is awful|It is raining here|We had a nice holiday], [but that is another story|by the way].",
    "[A friend|My brother|My neighbour|A colleague] [recommended your shop|told me about you|also buys from you].",
)
CLOSINGS = (
    "[Thanks|Thank you|Many thanks|Best regards|Kind regards|Regards|Cheers|Yours], {name}",
    "[Thanks|Thank you|Many thanks|Best regards|Kind regards|Regards|Cheers|Yours], {name}",
    "[Thanks|Thank you|Many thanks|Thanks in advance|Thank you for your help].",
)
FIRST_NAMES = (
    "Maria Anna Peter Lucas Sofia Emma Noah Olivia Liam Mia Leo Clara Paul Laura Tom Julia Max Nina Oscar Eva "
    "David Sara Daniel Lena Felix Ida Hugo Alma Victor Rosa Simon Vera Adam Lily Jack Grace Henry Alice George Ruby "
    "Wei Ming Yuki Hana Omar Layla Amir Fatima Ravi Priya Arjun Meera Kofi Ama Juan Carmen Pablo Lucia Ivan Olga"
).split()
PRODUCTS = (
    "desk lamp|coffee machine|headphones|keyboard|monitor|printer|phone case|smart watch|tablet|camera|"
    "vacuum cleaner|toaster|kettle|blender|speaker|router|laptop|mouse|webcam|microphone|"
    "office chair|standing desk|bookshelf|electric bike|helmet|backpack|suitcase|tent|rice cooker|air purifier|"
    "fan heater|drill|lawn mower|hair dryer|razor|toothbrush|baby monitor|doorbell|thermostat|projector|"
    "game console|drone|piano|guitar|sewing machine|water filter|scale|scanner|battery|power bank"
).split("|")
CITIES = (
    "Berlin Paris London Madrid Rome Vienna Prague Oslo Dublin Lisbon Athens Warsaw Zurich Geneva Milan Munich "
    "Boston Chicago Denver Seattle Toronto Sydney Tokyo Osaka Seoul Beijing Shanghai Singapore Mumbai Cairo Nairobi Lima"
).split()
PLANS = "Pro Team Business Premium Basic Family Student Enterprise Starter Gold".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = (
    "January February March April May June July August September October November December".split()
)
MAIL_HOSTS = "mail.com post.org example.com inbox.net web.io letter.eu".split()
