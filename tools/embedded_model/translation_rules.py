"""The phrase grammar of the translator: words and sentence patterns, Chinese beside English.

Data only; ``translation.py`` reads it. A word is ``Chinese English``, English with its forms apart
by a slash: of a noun the plural, of an activity the third person, the -ing form and the past. A
pattern is ``Chinese = English``; ``{drink:1}`` asks for form 1 of a word, ``<is/are/am>`` agrees
with the sentence's {who}. Each Chinese sentence has one English one and the other way round.
"""

from __future__ import annotations

WORDS = {
    "drink": "咖啡 coffee|茶 tea|绿茶 green tea|红茶 black tea|水 water|牛奶 milk|果汁 juice|橙汁 orange juice|苹果汁 apple juice|啤酒 beer|"
    "红酒 red wine|白酒 liquor|豆浆 soy milk|可乐 cola|热巧克力 hot chocolate|柠檬水 lemonade|酸奶 yogurt|汽水 soda|冰水 ice water|热水 hot water",
    "measure": "杯 cup/cups|瓶 bottle/bottles|壶 pot/pots|罐 can/cans|箱 box/boxes",
    "food": "米饭 rice|面条 noodles|饺子 dumplings|包子 steamed buns|豆腐 tofu|鸡肉 chicken|牛肉 beef|猪肉 pork|羊肉 lamb|鱼 fish|"
    "虾 shrimp|面包 bread|奶酪 cheese|沙拉 salad|薯条 French fries|披萨 pizza|巧克力 chocolate|蛋糕 cake|冰淇淋 ice cream|蔬菜 vegetables|"
    "水果 fruit|鸡汤 chicken soup|烤鸭 roast duck|火锅 hot pot|炒饭 fried rice|土豆 potatoes|西红柿 tomatoes|蘑菇 mushrooms|葡萄 grapes|西瓜 watermelon",
    "thing": "本=书 book/books|本=词典 dictionary/dictionaries|本=杂志 magazine/magazines|张=票 ticket/tickets|张=地图 map/maps|张=桌子 table/tables|"
    "张=床 bed/beds|把=椅子 chair/chairs|把=雨伞 umbrella/umbrellas|把=刀 knife/knives|把=钥匙 key/keys|件=衬衫 shirt/shirts|件=大衣 coat/coats|"
    "件=毛衣 sweater/sweaters|条=裤子 pair of trousers/pairs of trousers|条=裙子 skirt/skirts|条=围巾 scarf/scarves|双=鞋 pair of shoes/pairs of shoes|"
    "双=袜子 pair of socks/pairs of socks|顶=帽子 hat/hats|个=苹果 apple/apples|个=橙子 orange/oranges|个=鸡蛋 egg/eggs|个=杯子 mug/mugs|"
    "个=盘子 plate/plates|个=包 bag/bags|个=行李箱 suitcase/suitcases|个=钱包 wallet/wallets|个=手表 watch/watches|个=礼物 gift/gifts|"
    "台=电脑 computer/computers|台=电视 television/televisions|台=相机 camera/cameras|台=冰箱 refrigerator/refrigerators|部=手机 phone/phones|"
    "辆=汽车 car/cars|辆=自行车 bicycle/bicycles|支=笔 pen/pens|支=铅笔 pencil/pencils|封=信 letter/letters|盏=灯 lamp/lamps|块=肥皂 bar of soap/bars of soap",
    "number": "一 one|两 two|三 three|四 four|五 five|六 six|七 seven|八 eight|九 nine|十 ten|十二 twelve|二十 twenty",
    "hour": "一 one|两 two|三 three|四 four|五 five|六 six|七 seven|八 eight|九 nine|十 ten|十一 eleven|十二 twelve",
    "early": "五 five|六 six|七 seven|八 eight|九 nine|十 ten|十一 eleven",
    "late": "一 one|两 two|三 three|四 four|五 five",
    "night": "六 six|七 seven|八 eight|九 nine|十 ten|十一 eleven",
    "price": "五 five|十 ten|十五 fifteen|二十 twenty|三十 thirty|四十 forty|五十 fifty|六十 sixty|八十 eighty|九十 ninety|一百 one hundred|两百 two hundred|"
    "三百 three hundred|五百 five hundred|八百 eight hundred|一千 one thousand",
    "part": "早上 in the morning|下午 in the afternoon|晚上 in the evening",
    "day": "今天 today|明天 tomorrow|后天 the day after tomorrow|星期一 on Monday|星期二 on Tuesday|星期三 on Wednesday|星期四 on Thursday|星期五 on Friday|"
    "星期六 on Saturday|星期天 on Sunday|下个星期 next week|下个月 next month|这个周末 this weekend|明年 next year",
    "past": "昨天 yesterday|前天 the day before yesterday|上个星期 last week|上个月 last month|去年 last year|昨天晚上 last night|今天早上 this morning",
    "often": "每天 every day|每个星期 every week|每个月 every month|每年 every year|经常 often|有时候 sometimes|每天晚上 every evening|每天早上 every morning",
    "place": "火车站 train station|机场 airport|地铁站 subway station|公共汽车站 bus stop|医院 hospital|银行 bank|邮局 post office|超市 supermarket|"
    "市场 market|饭馆 restaurant|酒店 hotel|学校 school|大学 university|图书馆 library|博物馆 museum|公园 park|电影院 cinema|药店 pharmacy|"
    "书店 bookstore|咖啡馆 cafe|动物园 zoo|海边 beach|教堂 church|警察局 police station|体育馆 gym|游泳池 swimming pool|办公室 office|工厂 factory|"
    "商店 shop|厕所 toilet|大使馆 embassy|剧院 theater|花园 garden|码头 harbor|面包店 bakery",
    "city": "北京 Beijing|上海 Shanghai|广州 Guangzhou|深圳 Shenzhen|香港 Hong Kong|西安 Xi'an|成都 Chengdu|南京 Nanjing|杭州 Hangzhou|台北 Taipei|"
    "东京 Tokyo|首尔 Seoul|伦敦 London|巴黎 Paris|柏林 Berlin|罗马 Rome|纽约 New York|悉尼 Sydney|莫斯科 Moscow|新加坡 Singapore|曼谷 Bangkok|开罗 Cairo|维也纳 Vienna|马德里 Madrid",
    "country": "中国 China|日本 Japan|韩国 Korea|印度 India|美国 America|加拿大 Canada|英国 England|法国 France|德国 Germany|意大利 Italy|西班牙 Spain|"
    "俄罗斯 Russia|澳大利亚 Australia|巴西 Brazil|埃及 Egypt|泰国 Thailand|越南 Vietnam|瑞士 Switzerland",
    "language": "中文 Chinese|英语 English|法语 French|德语 German|日语 Japanese|韩语 Korean|西班牙语 Spanish|意大利语 Italian|俄语 Russian|阿拉伯语 Arabic|葡萄牙语 Portuguese",
    "transport": "火车 train|飞机 plane|地铁 subway|公共汽车 bus|出租车 taxi|船 boat|自行车 bicycle|汽车 car",
    "vehicle": "火车 train|飞机 plane|公共汽车 bus|船 boat|地铁 subway",
    "relative": "父亲 father|母亲 mother|哥哥 older brother|弟弟 younger brother|姐姐 older sister|妹妹 younger sister|儿子 son|女儿 daughter|"
    "爷爷 grandfather|奶奶 grandmother|叔叔 uncle|阿姨 aunt|丈夫 husband|妻子 wife|朋友 friend|同事 colleague|同学 classmate|邻居 neighbor|老板 boss|老师 teacher",
    "whose": "我 my|你 your|他 his|她 her|我们 our|他们 their",
    "job": "医生 doctor|护士 nurse|律师 lawyer|工程师 engineer|司机 driver|厨师 cook|警察 police officer|农民 farmer|工人 worker|记者 journalist|"
    "作家 writer|演员 actor|歌手 singer|画家 painter|科学家 scientist|经理 manager|秘书 secretary|会计 accountant|导游 tour guide|学生 student|程序员 programmer|商人 merchant",
    "act": "看电影 watch a movie/watches a movie/watching a movie/watched a movie|看书 read a book/reads a book/reading a book/read a book|"
    "听音乐 listen to music/listens to music/listening to music/listened to music|跑步 go running/goes running/running/went running|"
    "游泳 go swimming/goes swimming/swimming/went swimming|做饭 cook dinner/cooks dinner/cooking dinner/cooked dinner|"
    "买东西 go shopping/goes shopping/shopping/went shopping|学习 study/studies/studying/studied|工作 work/works/working/worked|"
    "睡觉 sleep/sleeps/sleeping/slept|跳舞 dance/dances/dancing/danced|唱歌 sing/sings/singing/sang|画画 paint/paints/painting/painted|"
    "打篮球 play basketball/plays basketball/playing basketball/played basketball|踢足球 play football/plays football/playing football/played football|"
    "打网球 play tennis/plays tennis/playing tennis/played tennis|弹钢琴 play the piano/plays the piano/playing the piano/played the piano|"
    "骑自行车 ride a bicycle/rides a bicycle/riding a bicycle/rode a bicycle|爬山 climb a mountain/climbs a mountain/climbing a mountain/climbed a mountain|"
    "钓鱼 go fishing/goes fishing/fishing/went fishing|写信 write a letter/writes a letter/writing a letter/wrote a letter|"
    "打扫房间 clean the room/cleans the room/cleaning the room/cleaned the room|洗衣服 wash clothes/washes clothes/washing clothes/washed clothes|"
    "玩游戏 play games/plays games/playing games/played games|拍照 take photos/takes photos/taking photos/took photos|"
    "喝茶 drink tea/drinks tea/drinking tea/drank tea|散步 take a walk/takes a walk/taking a walk/took a walk|下棋 play chess/plays chess/playing chess/played chess|"
    "看电视 watch television/watches television/watching television/watched television|上网 surf the internet/surfs the internet/surfing the internet/surfed the internet",
    "task": "写报告 write the report/writes the report/writing the report/wrote the report|开会 have a meeting/has a meeting/having a meeting/had a meeting|"
    "打电话 make a phone call/makes a phone call/making a phone call/made a phone call|发邮件 send an email/sends an email/sending an email/sent an email|"
    "准备合同 prepare the contract/prepares the contract/preparing the contract/prepared the contract|检查账单 check the bill/checks the bill/checking the bill/checked the bill|"
    "见客户 meet the client/meets the client/meeting the client/met the client|签文件 sign the document/signs the document/signing the document/signed the document|"
    "修打印机 repair the printer/repairs the printer/repairing the printer/repaired the printer|做计划 make a plan/makes a plan/making a plan/made a plan|"
    "订酒店 book a hotel/books a hotel/booking a hotel/booked a hotel|面试 have an interview/has an interview/having an interview/had an interview",
    "weather": "晴天 sunny|多云 cloudy|阴天 overcast",
    "warmth": "冷 cold|热 hot|暖和 warm|凉快 cool|潮湿 humid|干燥 dry",
    "fall": "下雨 rain|下雪 snow|刮风 be windy|下雾 be foggy",
    "feel": "累 tired|高兴 happy|饿 hungry|渴 thirsty|忙 busy|难过 sad|生气 angry|紧张 nervous|健康 healthy|聪明 clever|年轻 young|安静 quiet|勇敢 brave|友好 friendly|孤独 lonely|无聊 bored",
    "trait": "贵 expensive|便宜 cheap|大 big|小 small|新 new|旧 old|漂亮 beautiful|干净 clean|脏 dirty|重 heavy|轻 light|好看 good-looking|舒服 comfortable|结实 sturdy|特别 special|普通 ordinary",
    "colour": "红色 red|蓝色 blue|绿色 green|黄色 yellow|黑色 black|白色 white|灰色 gray|棕色 brown|紫色 purple|粉色 pink",
    "ill": "头 head|肚子 stomach|牙 tooth|背 back|腿 leg|脚 foot|手 hand|耳朵 ear|眼睛 eye|脖子 neck",
    "surname": "王 Wang|李 Li|张 Zhang|刘 Liu|陈 Chen|杨 Yang|赵 Zhao|黄 Huang|周 Zhou|吴 Wu|徐 Xu|孙 Sun",
    "given": "明 Ming|华 Hua|伟 Wei|芳 Fang|丽 Li|静 Jing|强 Qiang|磊 Lei|洋 Yang|军 Jun|娜 Na|敏 Min",
    "subject": "数学 mathematics|历史 history|地理 geography|物理 physics|化学 chemistry|音乐 music|经济 economics|法律 law|医学 medicine|哲学 philosophy|文学 literature|艺术 art",
    "pet": "条=狗 dog/dogs|只=猫 cat/cats|只=鸟 bird/birds|只=兔子 rabbit/rabbits|匹=马 horse/horses|只=猴子 monkey/monkeys|只=熊猫 panda/pandas|只=老虎 tiger/tigers|头=大象 elephant/elephants|只=羊 sheep/sheep|头=牛 cow/cows|头=猪 pig/pigs|只=鸭子 duck/ducks",
    "side": "左边 on the left of|右边 on the right of|前面 in front of|后面 behind|旁边 next to|对面 across from",
}
# Subjects by person: 3 takes the first form of <is/are/am>, 2 the second, 1 the third.
SUBJECTS = (
    ("我", "I", 1),
    ("你", "you", 2),
    ("他", "he", 3),
    ("她", "she", 3),
    ("我们", "we", 2),
    ("他们", "they", 2),
    ("{whose}的{relative}", "{whose} {relative}", 3),
)
# Parts that patterns share: each a list of alternatives, chosen alike in both languages.
PARTS = {
    "drinks": (
        "一{measure}{drink} = a {measure} of {drink}",
        "{many}{measure}{drink} = {many} {measure:1} of {drink}",
    ),
    "things": ("一{thing#}{thing} = {a} {thing}", "{many}{thing#}{thing} = {many} {thing:1}"),
    "time": (
        "早上{early}点 = at {early} o'clock in the morning",
        "早上{early}点半 = at half past {early} in the morning",
        "下午{late}点 = at {late} o'clock in the afternoon",
        "下午{late}点半 = at half past {late} in the afternoon",
        "晚上{night}点 = at {night} o'clock in the evening",
        "晚上{night}点半 = at half past {night} in the evening",
    ),
    "clock": (
        "早上{early}点 = {early} o'clock in the morning",
        "早上{early}点半 = half past {early} in the morning",
        "下午{late}点 = {late} o'clock in the afternoon",
        "下午{late}点半 = half past {late} in the afternoon",
        "晚上{night}点 = {night} o'clock in the evening",
        "晚上{night}点半 = half past {night} in the evening",
    ),
    "when": ("{day} = {day}", "{day}{part} = {day} {part}"),
}
PATTERNS = {
    "ordering": (
        "我想要{drinks}。 = I would like {drinks}.",
        "请给我{drinks}。 = Please give me {drinks}.",
        "{drinks}多少钱？ = What is the price of {drinks}?",
        "我们要{drinks}和{food}。 = We will have {drinks} and {food}.",
        "你们有{food}吗？ = Do you have {food}?",
        "这里的{food}很好吃。 = The {food} here is delicious.",
        "{who}喜欢{food}，不喜欢{food2}。 = {who} <likes/like> {food} but <does/do> not like {food2}.",
        "{who}想吃{food}。 = {who} <wants/want> to eat {food}.",
        "{who}{past}吃了{food}。 = {who} ate {food} {past}.",
        "{who}{often}喝{drink}。 = {who} <drinks/drink> {drink} {often}.",
        "你想喝{drink}还是{drink2}？ = Would you like {drink} or {drink2}?",
        "请不要放{food}。 = Please do not put in {food}.",
    ),
    "shopping": (
        "我想买{things}。 = I want to buy {things}.",
        "{who}买了{things}。 = {who} bought {things}.",
        "{who}需要{things}。 = {who} <needs/need> {things}.",
        "{who}丢了{things}。 = {who} lost {things}.",
        "这{thing#}{thing}多少钱？ = How much is this {thing}?",
        "那{thing#}{thing}太{trait}了。 = That {thing} is too {trait}.",
        "这{thing#}{thing}很{trait}。 = This {thing} is very {trait}.",
        "这{thing#}{thing}{price}块钱。 = This {thing} costs {price} yuan.",
        "你们有{colour}的{thing}吗？ = Do you have {a} {colour} {thing}?",
        "我要那{thing#}{colour}的{thing}。 = I will take that {colour} {thing}.",
        "这个太{trait}了，有别的吗？ = This one is too {trait}, do you have another?",
        "{who}送给{whose}的{relative}{things}。 = {who} gave {whose} {relative} {things}.",
        "房间一晚{price}块钱。 = The room costs {price} yuan a night.",
        "一共{price}块钱。 = It is {price} yuan altogether.",
    ),
    "travel": (
        "请问，{place}在哪里？ = Excuse me, where is the {place}?",
        "{place}在{place2}{side}。 = The {place} is {side} the {place2}.",
        "这附近有{place}吗？ = Is there {a} {place} near here?",
        "{who}{when}去{city}。 = {who} <is/are/am> going to {city} {when}.",
        "{who}{past}去了{city}。 = {who} went to {city} {past}.",
        "{who}坐{transport}去{place}。 = {who} <goes/go> to the {place} by {transport}.",
        "去{city}的{vehicle}几点开？ = What time does the {vehicle} to {city} leave?",
        "去{city}的{vehicle}{time}开。 = The {vehicle} to {city} leaves {time}.",
        "我想订一张去{city}的票。 = I would like to book a ticket to {city}.",
        "从{city}到{city2}坐{transport}要{hour}个小时。 = From {city} to {city2} by {transport} it takes {hours}.",
        "{who}是从{country}来的。 = {who} <comes/come> from {country}.",
        "{who}想去{country}旅行。 = {who} <wants/want> to travel to {country}.",
        "{who}去过{country}。 = {who} <has/have> been to {country}.",
        "{country}很漂亮。 = {country} is very beautiful.",
        "{who}住在{city}。 = {who} <lives/live> in {city}.",
        "请带我去{place}。 = Please take me to the {place}.",
        "{place}{time}开门。 = The {place} opens {time}.",
        "{place}{day}关门。 = The {place} is closed {day}.",
    ),
    "time": (
        "现在是{clock}。 = It is now {clock}.",
        "我们{day}{time}见面。 = We will meet {day} {time}.",
        "{who}{time}起床。 = {who} <gets/get> up {time}.",
        "{who}{time}回家。 = {who} <goes/go> home {time}.",
        "会议{time}开始。 = The meeting starts {time}.",
        "你{when}有空吗？ = Are you free {when}?",
    ),
    "weather": (
        "{city}{day}{weather}。 = It will be {weather} in {city} {day}.",
        "{day}会{fall}吗？ = Will it {fall} {day}?",
        "{when}会{fall}。 = It will {fall} {when}.",
        "{city}很{warmth}。 = It is very {warmth} in {city}.",
        "{city}和{city2}一样{warmth}。 = {city} is as {warmth} as {city2}.",
        "{past}是{weather}。 = It was {weather} {past}.",
        "{past}很{warmth}。 = It was very {warmth} {past}.",
    ),
    "work": (
        "{who}是{job}。 = {who} <is/are/am> {jobs}.",
        "{who}在{place}工作。 = {who} <works/work> at the {place}.",
        "{who}正在{task}。 = {who} <is/are/am> {task:2}.",
        "{who}{when}要{task}。 = {who} <has/have> to {task} {when}.",
        "{who}{past}{task}了。 = {who} {task:3} {past}.",
        "请你{day}{task}。 = Please {task} {day}.",
        "{who}不想{task}。 = {who} <does/do> not want to {task}.",
    ),
    "daily life": (
        "{who}喜欢{act}。 = {who} <likes/like> {act:2}.",
        "{who}正在{act}。 = {who} <is/are/am> {act:2}.",
        "{who}{often}{act}。 = {who} {act:agree} {often}.",
        "{who}{past}{act}了。 = {who} {act:3} {past}.",
        "{who}{when}想{act}。 = {who} <wants/want> to {act} {when}.",
        "{who}不会{act}。 = {who} cannot {act}.",
        "{who}正在{place}{act}。 = {who} <is/are/am> {act:2} at the {place}.",
        "你想和{whose}的{relative}一起{act}吗？ = Do you want to {act} with {whose} {relative}?",
        "{who}很{feel}。 = {who} <is/are/am> very {feel}.",
        "{who}不{feel}。 = {who} <is/are/am> not {feel}.",
        "{who}有点{feel}。 = {who} <is/are/am> a little {feel}.",
        "{who}的{ill}疼。 = {whos} {ill} hurts.",
        "{who}养了一{pet#}{pet}。 = {who} <keeps/keep> {a} {pet}.",
        "{who}的{ill}不疼了。 = {whos} {ill} does not hurt any more.",
        "{who}看见了一{pet#}{pet}。 = {who} saw {a} {pet}.",
        "{who}怕{pet}。 = {who} <is/are/am> afraid of {pet:1}.",
        "{who}最喜欢的颜色是{colour}。 = {whos} favorite color is {colour}.",
    ),
    "study": (
        "{who}会说{language}。 = {who} can speak {language}.",
        "{who}在学{language}。 = {who} <is/are/am> learning {language}.",
        "这个用{language}怎么说？ = How do you say this in {language}?",
        "{who}在大学学{subject}。 = {who} <studies/study> {subject} at university.",
        "{who}觉得{subject}很难。 = {who} <thinks/think> {subject} is difficult.",
        "{who}对{subject}感兴趣。 = {who} <is/are/am> interested in {subject}.",
        "{who}想当{job}。 = {who} <wants/want> to become {jobs}.",
    ),
    "people": (
        "我叫{surname}{given}。 = My name is {given} {surname}.",
        "这是{whose}的{relative}{surname}{given}。 = This is {whose} {relative} {given} {surname}.",
        "{whose}的{relative}叫什么名字？ = What is the name of {whose} {relative}?",
        "{who}认识{whose}的{relative}。 = {who} <knows/know> {whose} {relative}.",
        "{who}{day}去看{whose}的{relative}。 = {who} will visit {whose} {relative} {day}.",
        "{surname}先生是{job}。 = Mr. {surname} is {jobs}.",
        "{surname}女士在{place}等你。 = Ms. {surname} is waiting for you at the {place}.",
    ),
}
GREETINGS = (
    "你好！ = Hello!|早上好！ = Good morning!|晚上好！ = Good evening!|晚安。 = Good night.|谢谢你。 = Thank you.|不客气。 = You are welcome.|对不起。 = I am sorry.|"
    "没关系。 = It does not matter.|再见！ = Goodbye!|明天见。 = See you tomorrow.|很高兴认识你。 = Nice to meet you.|你好吗？ = How are you?|我很好，谢谢。 = I am fine, thank you.|"
    "请等一下。 = Please wait a moment.|请再说一遍。 = Please say it again.|我不明白。 = I do not understand.|祝你生日快乐！ = Happy birthday to you!|新年快乐！ = Happy New Year!|"
    "欢迎！ = Welcome!|请坐。 = Please sit down.|请进。 = Please come in.|没问题。 = No problem.|当然可以。 = Of course.|小心！ = Be careful!|祝你好运！ = Good luck!|一路平安！ = Have a safe trip!|"
    "现在几点？ = What time is it now?|今天星期几？ = What day is it today?|请帮帮我。 = Please help me.|我迷路了。 = I am lost."
)
