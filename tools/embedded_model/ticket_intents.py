"""What customers write about: the intents, each with its team, wordings, summary and reply.

Data only; ``tickets.py`` makes tickets of it. A fact is a clause that states the problem, an ask a
sentence that wants something; either alone settles the team. Each wording names the intent's key
slots, so that summary and reply can repeat them. The last fact of each intent is never trained
on: it is what the split "unseen wordings" is made of.
"""

from __future__ import annotations

from dataclasses import dataclass

TEAMS = ("billing", "technical", "shipping", "account", "sales")


@dataclass(frozen=True)
class Intent:
    """One thing that a customer may want."""

    name: str
    team: str
    facts: tuple[str, ...]
    asks: tuple[str, ...]
    summary: str
    reply: str
    is_grave: bool = False  # urgent by its nature, whatever the tone


INTENTS = (
    # billing
    Intent(
        "double charge",
        "billing",
        (
            "[I was|we were|I have been] [charged|billed] twice for order {order}",
            "order {order} [appears|shows up|is listed] two times on my [card statement|bank statement|credit card bill]",
            "you [took|withdrew|debited] the money for order {order} [two times|twice]",
            "there is a [duplicate|second] charge for order {order} on my [card|bank account]",
            "my [card|bank account] was [debited|charged] two times for order {order}",
        ),
        (
            "[Please|Could you] [return|refund] the second charge for order {order}[.|, thank you.]",
            "[Can you|Could you please] [cancel|reverse] the duplicate payment of order {order}?",
        ),
        "charged twice for order {order}",
        "I am sorry that order {order} was charged twice. The second payment will be returned to you within five days.",
    ),
    Intent(
        "refund missing",
        "billing",
        (
            "[I am|we are] still waiting for [the|my] refund of {amount}",
            "the refund of {amount} [has not arrived|did not arrive|never came|is not in my bank account]",
            "you promised me a refund of {amount} but [nothing came|I got nothing|no money arrived]",
            "I sent the item back and the {amount} [were|was] [never|not] refunded",
            "my refund of {amount} [is still missing|has still not been paid]",
        ),
        (
            "[When will I get|When can I expect|Where is] my refund of {amount}?",
            "[Please|Could you] [pay|send|transfer] the refund of {amount} [now|that you promised].",
        ),
        "refund of {amount} has not arrived",
        "I am sorry for the wait. Your refund of {amount} has been sent again and should arrive in three days.",
    ),
    Intent(
        "wrong invoice",
        "billing",
        (
            "the [amount|total|sum] on invoice {invoice} is [wrong|not correct|too high]",
            "invoice {invoice} [shows|has|lists] [a wrong price|the wrong amount|items I never ordered]",
            "[I was|we were] [overcharged|charged too much] on invoice {invoice}",
            "invoice {invoice} [does not match|differs from] the price [I agreed to|on your website]",
            "there is a [mistake|an error] in the [sum|total] of invoice {invoice}",
        ),
        (
            "[Please|Could you] [correct|check|fix] the [amount|total] of invoice {invoice}.",
            "[Why is|Can you explain why] the total of invoice {invoice} [is so high|is higher than expected]?",
        ),
        "amount on invoice {invoice} is wrong",
        "Thank you for telling us. We are checking the amounts on invoice {invoice} and will send you a corrected one.",
    ),
    Intent(
        "payment declined",
        "billing",
        (
            "my [credit card|debit card|card] was [declined|refused|rejected] when I tried to pay {amount}",
            "the payment of {amount} [failed|did not go through|was refused|keeps failing]",
            "I [tried|have tried] to pay {amount} [three times|twice|again and again] and the payment [fails|is refused]",
            "your shop [does not accept|refuses] my [card|credit card] for the {amount}",
            "the [checkout|bank] [rejects|declines] my payment of {amount}",
        ),
        (
            "[How else can I|Is there another way to] pay the {amount}?",
            "[Can you|Could you] tell me why the payment of {amount} [failed|was declined]?",
        ),
        "payment of {amount} was declined",
        "I am sorry that the payment of {amount} did not go through. Please try another card or pay by bank transfer.",
    ),
    Intent(
        "invoice copy",
        "billing",
        (
            "[I need|we need|my accountant needs] a [copy|PDF] of the [invoice|receipt] for order {order}",
            "I [never got|did not receive|cannot find] [an invoice|a receipt] for order {order}",
            "the [invoice|receipt] for order {order} is missing [our tax number|the VAT number|our company name]",
            "there was no [invoice|receipt] in the [mail|email] for order {order}",
        ),
        (
            "[Please|Could you] [send|email] me the [invoice|receipt] for order {order}.",
            "[Can I get|Where do I find] [a receipt|an invoice] for order {order}?",
        ),
        "needs the invoice for order {order}",
        "Of course. The invoice for order {order} is on its way to your email address.",
    ),
    Intent(
        "subscription charge",
        "billing",
        (
            "I [cancelled|ended] my {plan} subscription and [was charged again|you charged me again|still got billed]",
            "you [still|keep] [charge me|charging me|billing me] for the {plan} plan that I cancelled",
            "my {plan} subscription was renewed [and charged|and billed] without my consent",
            "money is still [taken|debited] every month for the {plan} plan [I ended|I cancelled]",
        ),
        (
            "[Please|Could you] stop [charging|billing] me for the {plan} plan.",
            "[Why do you|Why are you] still [bill|billing] me for the {plan} subscription that I cancelled?",
        ),
        "charged for the cancelled {plan} plan",
        "I am sorry about that. The {plan} plan is cancelled now and the last charge will be returned to you.",
    ),
    # technical
    Intent(
        "crash",
        "technical",
        (
            "the app [crashes|closes|freezes] with error {code} [every time|whenever I open it|after a few seconds]",
            "[I get|I see|it shows] error {code} [when I start|after I open|each time I start] the [app|program]",
            "your [software|program|app] [stopped working|does not start|hangs] and shows error {code}",
            "error {code} [appears|pops up|comes up] [on my screen|in the app] [and nothing works|all the time]",
            "the [program|app] [quits|shuts down] by itself with the message {code}",
        ),
        (
            "[How do I fix|How can I get rid of|What can I do about] error {code} [in the app|]?",
            "[Please|Could you] [help me|tell me how] to [fix|solve] error {code}.",
        ),
        "app crashes with error {code}",
        "I am sorry about the trouble. Error {code} goes away after an update, so please install the newest version and start again.",
    ),
    Intent(
        "device broken",
        "technical",
        (
            "my {product} [does not|will not|no longer wants to] [turn on|switch on|start]",
            "the {product} [stopped working|died|broke down] after [two days|one week|a month|an hour]",
            "my {product} [makes a strange noise|gets very hot|keeps switching itself off] [when I use it|during use]",
            "the [screen|light|button] of my {product} [does not work|is dead|does nothing]",
            "my {product} [is dead|shows no sign of life] since [this morning|yesterday]",
        ),
        (
            "[How do I|How can I] [repair|reset|restart] my {product}?",
            "[Please|Could you] [help me|tell me how to] get my {product} to work [again|].",
        ),
        "{product} does not work",
        "I am sorry that your {product} does not work. Please hold the power button for ten seconds and write to us again if that does not help.",
    ),
    Intent(
        "slow",
        "technical",
        (
            "your [website|web site|dashboard|portal] [is|has been] [very|extremely|so] slow since {date}",
            "since {date} [pages take|every page takes|a page takes] [a minute|ages|forever] to load",
            "the [dashboard|website|search] [hangs|times out|is sluggish] [all the time|again and again] since {date}",
            "[loading|opening] [a report|a page|the dashboard] has taken [minutes|far too long] since {date}",
        ),
        (
            "[Why is|Do you know why] your [website|dashboard] [has been|is] [so slow|slow] since {date}?",
            "[Please|Could you] [look at|check] the speed of the [website|dashboard], it has been slow since {date}.",
        ),
        "website slow since {date}",
        "Thank you for the report. Our engineers are looking at why the site has been slow since {date}.",
    ),
    Intent(
        "outage",
        "technical",
        (
            "[the whole system|your whole service|everything] [is|has been] down [in our office in|at our site in|for our team in] {city}",
            "nobody in our {city} office can [connect|reach your server|use the system]",
            "[all our|all of our] [screens|terminals|machines] in {city} [went black|lost the connection|show a server error]",
            "there is a [total|complete] outage of your service at our {city} branch",
        ),
        (
            "[Please|You must] [restore|bring back] the service in {city}, [nothing works|everything is offline].",
            "[When will|Do you know when] the service in {city} [be|will be] [back|online] again?",
        ),
        "service is down in {city}",
        "We are treating this as an emergency. Our engineers are working on the outage in {city} at this moment.",
        is_grave=True,
    ),
    Intent(
        "sync",
        "technical",
        (
            "the {product} [does not|will not] [connect|pair] [to|with] [my phone|the wifi|the app|bluetooth]",
            "I cannot [pair|connect|link] the {product} [with|to] [my phone|my laptop|the app]",
            "the [connection|link] between the {product} and [my phone|the app] [keeps dropping|breaks down]",
            "[my phone|the app|my laptop] [does not find|cannot see|cannot detect] the {product}",
        ),
        (
            "[How do I|How can I] [connect|pair] the {product} [with|to] [my phone|the app|the wifi]?",
            "[Please|Could you] explain how to [connect|pair] the {product} [with|to] my phone.",
        ),
        "{product} does not connect",
        "Let us get your {product} connected. Please turn bluetooth off and on and add the device in the app again.",
    ),
    Intent(
        "bug after update",
        "technical",
        (
            "after the update to version {version} [the search|the export|the calendar|printing] [is broken|does not work|fails]",
            "version {version} [has a bug|is full of bugs]: [the search|the export|the print button|the calendar] [does nothing|fails]",
            "since I installed version {version} I [cannot|can no longer] [export|print|save] [my files|a report|anything]",
            "the [new|latest] version {version} [deletes|loses|mixes up] my [settings|files|notes]",
        ),
        (
            "[How do I|Can I] go back from version {version} to the [old|previous] one?",
            "[Will you|When will you] fix the bugs of version {version}?",
        ),
        "bug in version {version}",
        "Thank you for the report. The bug in version {version} is known and will be fixed in the next update.",
    ),
    # shipping
    Intent(
        "late",
        "shipping",
        (
            "[my package|my parcel|the delivery] with order {order} [has not arrived|is late|never came|did not arrive]",
            "order {order} [should have|was supposed to have] [arrived|been delivered] [last week|days ago|on Monday]",
            "I [am still waiting|have been waiting] [for|two weeks for] the delivery of order {order}",
            "order {order} [has been on its way|has been in transit|has not moved] for [ten days|two weeks|ages]",
            "there is still no [sign|trace] of the parcel for order {order}",
        ),
        (
            "[Where is|What happened to] [the package of order|my order] {order}?",
            "[When will|Do you know when] order {order} [arrive|be delivered|get here]?",
        ),
        "order {order} has not arrived",
        "I am sorry for the delay. Order {order} is with the carrier and should reach you within two days.",
    ),
    Intent(
        "damaged",
        "shipping",
        (
            "the {product} [arrived|was delivered] [broken|damaged|in pieces|with a crack]",
            "the [box|parcel|package] with the {product} was [crushed|torn open|wet] [when it arrived|on delivery]",
            "the [courier|driver] [dropped|threw] the parcel and the {product} is [broken|cracked|damaged]",
            "I [opened|unpacked] the box and the {product} was [scratched|smashed|broken]",
            "the {product} was [damaged|destroyed] [on the way|in transit]",
        ),
        (
            "[Please|Could you] [send|ship] me [a new|another] {product}, this one [arrived broken|came damaged].",
            "[Can I get|Will you send] a replacement for the {product} that arrived [damaged|broken]?",
        ),
        "{product} arrived damaged",
        "I am sorry that the {product} arrived damaged. A new one will leave our warehouse tomorrow.",
    ),
    Intent(
        "wrong item",
        "shipping",
        (
            "I [ordered|wanted] [a red|a blue|a small|a large] {product} and [got|received] [something else|the wrong thing|another item]",
            "the [parcel|package|box] [contained|had] [the wrong item|something else] instead of the {product}",
            "you [sent|shipped] me the wrong {product}",
            "the {product} in the [box|parcel] is not the [model|colour|size] [I ordered|from my order]",
        ),
        (
            "[Please|Could you] [pick up|collect] the wrong item and [send|deliver] the {product} [I ordered|from my order].",
            "[Can you|Could you] exchange the wrong {product} [you sent|you shipped]?",
        ),
        "wrong item instead of the {product}",
        "I am sorry for the mix-up. The right {product} will be sent today and the courier takes the other item back.",
    ),
    Intent(
        "change address",
        "shipping",
        (
            "[I am moving|we are moving|I have moved] to {city} and the parcel goes to [my|the] old address",
            "the delivery address [is wrong|is out of date], the parcel should go to {city}",
            "I [gave|entered] the wrong [street|address], the package must go to {city}",
            "the courier [has|was given] my old address but I live in {city} now",
        ),
        (
            "[Please|Could you] [send|deliver|redirect] [the parcel|my package|the delivery] to {city} [instead|].",
            "[Can I|Is it possible to] [change|correct] the delivery address to one in {city}?",
        ),
        "deliver to {city} instead",
        "No problem. We have asked the carrier to bring the parcel to your address in {city}.",
    ),
    Intent(
        "missing part",
        "shipping",
        (
            "the [charger|cable|manual|lid] of the {product} was [missing|not in the box|not in the parcel]",
            "[a part|one item|half] of my delivery [is|was] missing: the {product}",
            "the parcel [came|arrived] without the {product}",
            "the {product} was not in the [box|parcel|package]",
        ),
        (
            "[Please|Could you] [send|ship] the {product} that was missing [from|in] the parcel.",
            "[When will|When do] you deliver the {product} that was [missing|left out]?",
        ),
        "{product} missing from the parcel",
        "I am sorry that something was missing. We will send what belongs to the {product} by express.",
    ),
    Intent(
        "tracking",
        "shipping",
        (
            "the tracking [link|number|page] for order {order} [does not work|shows nothing|is not valid]",
            "tracking says order {order} was delivered [but I have nothing|but nothing is here|to a stranger]",
            "I [never got|did not get|have no] tracking number for order {order}",
            "the carrier [does not know|has no record of] order {order}",
        ),
        (
            "[Please|Could you] [send|give] me [the tracking number|a tracking link] for order {order}.",
            "[How can I|Where can I] [track|follow] order {order}?",
        ),
        "tracking of order {order} does not work",
        "Here is what we know. Order {order} has left the warehouse and a new tracking link is on its way to you.",
    ),
    # account
    Intent(
        "password",
        "account",
        (
            "[I forgot|I have forgotten|I lost] the password [for|of] {email}",
            "the password reset [mail|email|link] for {email} [never comes|does not arrive|has expired]",
            "I cannot [log in|sign in] [as|with] {email}, [my password is not accepted|it says wrong password]",
            "my [login|password] for {email} [no longer works|is not accepted]",
        ),
        (
            "[Please|Could you] reset the password [for|of] {email}.",
            "[How do I|How can I] [change|reset] the password [for|of] {email}?",
        ),
        "password reset for {email}",
        "No problem. We have sent a new link for your password to {email}.",
    ),
    Intent(
        "hacked",
        "account",
        (
            "[someone|a stranger|somebody] [logged in to|got into|is using] my profile {email}",
            "my profile {email} [was|has been] [hacked|broken into|taken over]",
            "I [got|received] a [notice|warning] about a [strange|foreign] login to {email} that was not me",
            "[a thief|somebody else] changed the password and phone number of {email}",
        ),
        (
            "[Please|You must] [block|lock|freeze] {email}, [someone stole it|it was hacked].",
            "[Can you|Could you] [lock|secure] {email}? [A stranger|Someone] [is using it|has got into it].",
        ),
        "login {email} was hacked",
        "We take this very seriously. The login {email} is locked now and we will call you to check who you are.",
        is_grave=True,
    ),
    Intent(
        "locked",
        "account",
        (
            "my [user|profile|login] {email} [is|was] [locked|blocked|suspended] [after too many attempts|for no reason|]",
            "I am locked out of {email}",
            "it says that {email} is [suspended|disabled|blocked]",
            "I [no longer have|lost] access to {email}",
        ),
        (
            "[Please|Could you] [unlock|unblock|reactivate] [the login|] {email}.",
            "[Why is|Why was] {email} [blocked|locked|suspended]?",
        ),
        "login {email} is locked",
        "Thank you for writing. The login {email} is open again, please sign in with your usual password.",
    ),
    Intent(
        "change email",
        "account",
        (
            "my email address has changed [to|and is now] {email}",
            "I [want to|would like to] [use|log in with] {email} [from now on|instead of my old address]",
            "my [profile|user page] [still has|shows] my old [mail|email] address, the new one is {email}",
            "the address {email} is my new [email|one] and should be in my profile",
        ),
        (
            "[Please|Could you] [change|update] the email in my profile to {email}.",
            "[How do I|Can I] [set|change] the email of my profile to {email}?",
        ),
        "change email to {email}",
        "Done. Your profile now uses {email}, please confirm it with the link that we sent.",
    ),
    Intent(
        "delete",
        "account",
        (
            "I [want|would like] [you to delete|to close] my profile {email} [and all my data|for good|]",
            "I [no longer need|do not need] my profile {email} and [it should be deleted|want it gone]",
            "[under the privacy law|by law] I want all data [of|about] {email} [removed|erased]",
            "the profile {email} should be [erased|removed] with all its data",
        ),
        (
            "[Please|Could you] [delete|close|remove] my profile {email}.",
            "[How do I|How can I] [delete|close] my profile {email}?",
        ),
        "delete the profile {email}",
        "We are sorry to see you go. The profile {email} and its data will be deleted within thirty days.",
    ),
    Intent(
        "two factor",
        "account",
        (
            "the [security|login|verification] code [never reaches|does not come to|is not sent to] my phone {phone}",
            "I [lost|changed] my [phone|sim card] and the [login|security] codes still go to {phone}",
            "[two step|two factor] login does not work with the number {phone}",
            "no [security|verification] code arrives on {phone}",
        ),
        (
            "[Please|Could you] send the [login|security] codes to {phone} [from now on|].",
            "[How do I|Can I] change the number for [login|security] codes to {phone}?",
        ),
        "security codes for {phone}",
        "Thank you for telling us. Security codes will go to {phone} after you confirm the number.",
    ),
    # sales
    Intent(
        "quote",
        "sales",
        (
            "[we want|our company wants|we plan|I would like] to [buy|order] {number} [pieces of the|units of the] {product}",
            "[we are looking for|our school needs|our office needs] {number} [pieces of the|units of the] {product} [and want an offer|and would like a price]",
            "I am [comparing|collecting] offers for {number} [units|pieces] of the {product}",
            "our [firm|hotel] would [purchase|take] {number} units of the {product} at a good price",
        ),
        (
            "[What is your|What would be the] [best price|price] for {number} [pieces|units] of the {product}?",
            "[Please|Could you] [send me|make us] an offer for {number} [pieces|units] of the {product}.",
        ),
        "offer for {number} units of the {product}",
        "Thank you for your interest. You will get our offer for {number} units of the {product} today.",
    ),
    Intent(
        "upgrade",
        "sales",
        (
            "[I am|we are] [interested in|thinking about] [the|an upgrade to the] {plan} plan",
            "[I want|we want|I would like] to [upgrade|switch|move] to the {plan} plan",
            "[our team has grown|we have grown] and [we need|we would like] the {plan} plan",
            "our [free plan|trial] is too small and the {plan} plan [looks right|would suit us]",
        ),
        (
            "[What is included in|Can you tell me more about|What is the price of] the {plan} plan?",
            "[How can we|How do I] [upgrade|switch] to the {plan} plan?",
        ),
        "interested in the {plan} plan",
        "Good choice. I will send you what the {plan} plan offers and how to change to it.",
    ),
    Intent(
        "demo",
        "sales",
        (
            "[we would like|I would like|our boss wants] [to see a|a] [demo|demonstration|product tour] on {date}",
            "we are [free|available] on {date} for a [demo|presentation] of your [product|software]",
            "[I want|we want] to [see|try] your [product|software] before [buying|we buy], [maybe|ideally] on {date}",
            "a [product tour|presentation] on {date} would help us [decide|choose]",
        ),
        (
            "[Can we|Could we] [book|schedule|arrange] a [demo|product tour] for {date}?",
            "[Please|Could you] show us [the product|your software] in a demo on {date}.",
        ),
        "demo on {date}",
        "With pleasure. A colleague will show you our product on {date} and send you the invitation.",
    ),
    Intent(
        "availability",
        "sales",
        (
            "I [want|would like] to buy the {product} but it is [sold out|out of stock|not available] [on your website|]",
            "the {product} [is|has been] [sold out|out of stock] [for weeks|everywhere] and I want [one|to buy one]",
            "I [cannot find|am looking for] the {product} [in your catalogue|on your website]",
            "I would [gladly|love to] purchase the {product} as soon as you [have|stock] it",
        ),
        (
            "[When will|When is] the {product} [be back in stock|be available|on sale again]?",
            "[Do you|Will you] [sell|have|offer] the {product} [in black|in white|in other colours]?",
        ),
        "wants to buy the {product}",
        "Thank you for asking. The {product} will be back in our shop next week and I will reserve one for you.",
    ),
    Intent(
        "discount",
        "sales",
        (
            "[we are a|I represent a|we run a] [school|charity|hospital|library] and [want|would like] a discount on the {product}",
            "I [saw|found] the {product} [cheaper|for less] [at another shop|elsewhere] and would buy [from|with] you at that price",
            "we [would order|want to order] the {product} [every month|regularly] and hope for a [discount|better price]",
            "the price of the {product} is [a bit high|too much] for our [school|club] to buy it",
        ),
        (
            "[Do you|Can you] [offer|give] a [discount|special price] [on|for] the {product}?",
            "[Is there|Do you have] a [student|school|volume] discount for the {product}?",
        ),
        "asks for a discount on the {product}",
        "Thank you for asking. I can offer you ten percent off the {product} until the end of the month.",
    ),
    Intent(
        "partner",
        "sales",
        (
            "[we run|I own|my family has] a shop in {city} and [want|would like] to [sell|resell] your products",
            "we [want|would like] to become [a reseller|a dealer|a partner] in {city}",
            "our [store|company] in {city} is [looking for|interested in] a [reseller contract|partnership]",
            "I would like to [distribute|offer] your products to [shops|customers] in {city}",
        ),
        (
            "[How can we|How do I] become your [partner|dealer|reseller] in {city}?",
            "[Are you looking for|Do you need] [resellers|dealers] in {city}?",
        ),
        "wants to become a reseller in {city}",
        "That sounds interesting. Our partner manager will call you about {city} this week.",
    ),
)
