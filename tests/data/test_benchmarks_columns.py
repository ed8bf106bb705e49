"""Which columns of a table are used, which are left alone, and which are refused as nearly ours."""

import pytest

from drl_tvr import BenchmarkError
from drl_tvr.data.benchmarks.column_names import fields_like
from drl_tvr.data.benchmarks.columns import check_values
from drl_tvr.data.benchmarks.columns import find_columns as find_names


MAIN = ["video", "caption"]


def find_columns(names, where, value="1.5"):
    """The columns of the fields, where every other column holds a value."""
    found = find_names(names, where)
    others = [name for name in names if name not in found.values()]
    check_values(dict.fromkeys(others, value), fields_like(names, found), found, where)
    return found


@pytest.mark.parametrize(
    "name",
    """from_sec to_sec from_time to_time fromTime time_from time_to in_sec out_sec in_time out_time inTime time_in
    time_out t_in t_out since_s until_s tmin tmax time_min time_max stime etime first_sec last_sec startend
    action_start start_second_in_video StartMs stopped_at starttime_sec trim_start""".split(),
)
def test_a_name_of_words_of_time_is_refused(name):
    with pytest.raises(BenchmarkError, match="my.csv: found .*, expected '(start|end)' of a segment"):
        find_columns([*MAIN, name], "my.csv")


@pytest.mark.parametrize("value", [[1, 2], "[1.5, 2]", "1-2", "00:01 --> 00:02", {"start": 1, "end": 2}])
@pytest.mark.parametrize(
    "name",
    "segment_timestamps segment_time seg_range moment_times frame_range bounds trim clip timestamps window".split(),
)
def test_a_column_with_two_times_is_refused(name, value):
    with pytest.raises(BenchmarkError, match="expected 'start' and 'end' of a segment"):
        find_columns([*MAIN, name], "my.csv", value)


def test_a_mapping_with_times_is_refused():
    with pytest.raises(BenchmarkError, match="found 'meta'"):
        find_columns([*MAIN, "meta"], "my.json", {"start": 1, "end": 2})


@pytest.mark.parametrize(
    ("names", "value"),
    [
        ("end_user,stop words,stop_reason,start_year,start date,starting_price,fold_change,split_seed,subset_id", "3"),
        ("id,title,url,fps,duration,height,num_frames,source,category,clip,is_finished,size,sender,weekend", "3"),
        ("time,timestamp,start_time,end", "2019-04-01 12:00"),
        ("time,timestamp", "1556712000"),
        ("st,ed,te,start,time,in,to", "a text"),
        ("finished,stop", True),
        ("resolution,size", [640, 480]),
    ],
)
def test_what_cannot_be_seconds_is_left_alone(names, value):
    for name in names.split(","):
        assert set(MAIN) <= set(find_columns([*MAIN, name], "my.csv", value)), name


@pytest.mark.parametrize("name", ["start", "Start", "START ", " start", "\ufeffstart"])
def test_case_and_spaces_do_not_count(name):
    assert find_columns([*MAIN, name], "my.csv")["start"] == name


@pytest.mark.parametrize("name", ["File Name", "fileName", "video-path", "PATH"])
def test_a_video_column_is_found_however_it_is_spelled(name):
    assert find_columns([name, "Text"], "my.csv") == {"video": name, "caption": "Text"}


@pytest.mark.parametrize(
    "name",
    """start_time time_start startTime Start_timestamp start_sec start_seconds start_s start_ms start_frame begin
    begin_time t_start tstart clip_start segment_start ts_start onset from starts strat stat t0 start-time
    started_at beginning tc_in in_point first_frame st""".split()
    + ["start (s)", "Start [sec]", "start time"],
)
def test_another_name_of_the_start_is_refused(name):
    with pytest.raises(BenchmarkError, match="my.csv: found .*, expected 'start' of a segment"):
        find_columns([*MAIN, name], "my.csv")


@pytest.mark.parametrize(
    "name",
    "end_time time_end endTime End_timestamp end_sec stop stop_time t_end clip_end finish to until ends edn duration "
    "length clip_length tc_out last_frame et".split(),
)
def test_another_name_of_the_end_is_refused_beside_a_start(name):
    with pytest.raises(BenchmarkError, match=f"my.csv: found {name!r} .*, expected 'end' of a segment"):
        find_columns([*MAIN, "start", name], "my.csv")


@pytest.mark.parametrize(
    "name", "timestamp timestamps span segment interval time_range window moments section offset time stop".split()
)
def test_a_column_with_both_is_refused_where_neither_is(name):
    with pytest.raises(BenchmarkError, match=f"found {name!r} .*, expected 'start' and 'end' of a segment"):
        find_columns([*MAIN, name], "my.csv", "1.5-2")
    assert find_columns([*MAIN, "start", "end", name], "my.csv", "1.5-2").keys() == {*MAIN, "start", "end"}


@pytest.mark.parametrize(
    "name", "segment section span window offset time stop left right lo upper exit first max shot clip cut s e".split()
)
def test_one_number_under_a_name_that_says_little_is_left_alone(name):
    assert find_columns([*MAIN, name], "my.csv", "3").keys() == set(MAIN)


@pytest.mark.parametrize(
    "names",
    """left/right lo/hi low/high lower/upper enter/exit entry/exit first/last min/max s/e head/tail seg_left/seg_right
    clipLo/clipHi onset/offset offset/duration offset/length start_time/stop from/to frm_start/frm_stop""".split(),
)
def test_two_columns_that_are_partners_are_refused(names):
    one, two = names.split("/")
    with pytest.raises(BenchmarkError, match=f"found '{one}', '{two}' as names of columns, expected 'start' .* 'end'"):
        find_columns([*MAIN, one, two], "my.csv", "3")
    found = find_columns([*MAIN, one, two], "my.csv", "a text")
    assert found.keys() == set(MAIN)


@pytest.mark.parametrize(
    "names",
    """time/duration position/duration time_sec/duration_sec video_time/clip_length pos/len at/dur frame_pos/length
    t_1/t_2 t0/t1 t1/t2 time1/time2 time_0/time_1 frame1/frame2 Time1/Time2
    time1_sec/time2_sec ts01/ts02 sec1/sec2""".split(),
)
def test_a_pair_of_names_of_time_is_refused(names):
    one, two = names.split("/")
    for columns in ([one, two], [two, one]):
        with pytest.raises(BenchmarkError, match="as names of columns, expected ") as caught:
            find_columns([*MAIN, *columns], "my.csv", 5.0)
        assert repr(one) in str(caught.value) and repr(two) in str(caught.value)
    assert find_columns([*MAIN, one, two], "my.csv", "a text").keys() == set(MAIN)


@pytest.mark.parametrize(
    "names",
    "frames,duration clip,duration segment_idx,duration time_of_day,duration t_1,t_2,t_3 clip1,clip2 time1,frame2 "
    "score_1,score_2 time_1 fps,duration left,right,top,bottom".split(),
)
def test_what_is_no_pair_of_names_of_time_is_left_alone(names):
    assert find_columns([*MAIN, *names.split(",")], "my.csv", "3").keys() == set(MAIN)


@pytest.mark.parametrize("name", ["time", "timestamp", "position"])
@pytest.mark.parametrize("value", ["2019-04-01 12:00", "1556712000", "left"])
def test_a_length_beside_what_is_no_time_is_left_alone(name, value):
    like = fields_like([name, "duration"], {})
    check_values({name: value, "duration": 12.0}, like, {}, "my.csv")


@pytest.mark.parametrize("name", "segment time position offset section clip".split())
@pytest.mark.parametrize("value", ["00:00:12.5", "12:30", "0:05", "01:02:03,5"])
def test_a_clock_time_under_a_name_that_says_little_is_refused(name, value):
    with pytest.raises(BenchmarkError, match=f"found '{name}' as names of columns, expected 'start' and 'end'"):
        find_columns([*MAIN, name], "my.csv", value)


@pytest.mark.parametrize(
    "value",
    ["{'start': 1.5, 'end': 3}", '{"from": 1, "to": "2"}', "{start: 1, end: 2}", {"time": 1, "duration": 2}]
    + ["{'label': 'x', 't_1': 1.5, 't_2': 3}"],
)
def test_the_text_of_a_mapping_with_times_is_refused(value):
    for name in ("timestamps", "meta"):
        with pytest.raises(BenchmarkError, match=f"found '{name}' as names of columns, expected 'start' and 'end'"):
            find_columns([*MAIN, name], "my.csv", value)


@pytest.mark.parametrize("value", [[{"start": 1, "end": 2}], "[{'start': 1, 'end': 2}]", "start=1.5, end=3"])
def test_a_list_of_mappings_with_times_is_refused_under_a_name_of_time(value):
    with pytest.raises(BenchmarkError, match="found 'segments' as names of columns, expected 'start' and 'end'"):
        find_columns([*MAIN, "segments"], "my.json", value)
    assert find_columns([*MAIN, "transcript"], "my.json", value).keys() == set(MAIN)


@pytest.mark.parametrize("text", ["{" + "a" * 10**5, "{" + "a " * 10**5, "{" + "a:" * 10**5, "{a" + " " * 10**5])
def test_a_long_text_takes_no_time(text):
    assert find_columns([*MAIN, "segments"], "my.json", text).keys() == set(MAIN)


@pytest.mark.parametrize(
    "value",
    [
        {"left": 1, "right": 2, "top": 3, "bottom": 4},
        {"left": 1, "top": 3, "width": 5, "height": 4},
        {"x": 1, "y": 3, "width": 5, "height": 4, "left": 1, "right": 6},
        "{'left': 1, 'right': 2, 'top': 3, 'bottom': 4}",
        "{a: 1, b: 2}",
    ],
)
def test_a_box_is_no_range(value):
    assert find_columns([*MAIN, "bbox"], "my.json", value).keys() == set(MAIN)


@pytest.mark.parametrize(
    "name",
    """beg begin_at lead_in lead_out begins beginning from_seconds from_frame starting_from started_at up_to to_s
    left_sec hi_time enter_time exit_s clip_from segment_until starts_ms begin-s""".split(),
)
def test_one_column_that_says_its_side_is_refused(name):
    with pytest.raises(BenchmarkError, match=f"found '{name}' as names of columns, expected '(start|end)' of"):
        find_columns([*MAIN, name], "my.csv", "3")


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        ("in_s,out_s", "start,end"),
        ("end_s,start_s", "end,start"),
        ("cue_out,cue_in", "end,start"),
        ("x_min,x_max", ","),
        ("ci_lower,ci_upper", ","),
    ],
)
def test_each_side_is_told(names, fields):
    like = fields_like(names.split(","), {})
    assert [like.get(name, "") for name in names.split(",")] == fields.split(",")


@pytest.mark.parametrize("name", "tested sin send into onto toes items trend blend legend attend recommend".split())
def test_a_word_with_such_a_word_in_it_is_another(name):
    assert find_columns([*MAIN, name, f"{name}_time"], "my.csv", "3").keys() == set(MAIN)


@pytest.mark.parametrize(
    "name", "subset partition set Set fold data_split dataset_split splits spilt phase usage is_train train".split()
)
def test_another_name_of_the_split_is_refused(name):
    with pytest.raises(BenchmarkError, match=f"found {name!r} .*, expected 'split'"):
        find_columns([*MAIN, name], "my.csv")


def test_all_unclear_columns_are_named_at_once():
    with pytest.raises(BenchmarkError, match="'time_start', 'time_end', 'subset' .*'start' .*'end' .*'split'"):
        find_columns(["label", *MAIN, "time_start", "time_end", "subset"], "kinetics.csv")


@pytest.mark.parametrize(
    "name",
    """author url views label youtube_id video_id videoid contentUrl page_dir clip_id title description category
    channel likes duration length fps width height license rating stars upload_date num_frames matching_score
    dataset topic gender legend weekend restart startup trend caption_zh language source age frames""".split()
    + ["", "Unnamed: 0", "aesthetic score", "camera motion"],
)
def test_what_is_clearly_another_column_is_left_alone(name):
    assert find_columns([*MAIN, name], "my.csv").keys() == set(MAIN)


@pytest.mark.parametrize("other", ["text", "captions", "Caption", "caption_2", "caption.1", "caption2"])
def test_two_columns_of_captions_are_refused(other):
    with pytest.raises(BenchmarkError, match=f"found the columns 'caption' and '{other}', expected one column"):
        find_columns([*MAIN, other], "my.csv")


def test_many_columns_are_not_all_named():
    with pytest.raises(BenchmarkError, match="and 980 more, expected a column 'video'") as caught:
        find_columns([f"{number}" * 1000 for number in range(1000)], "my.json")
    assert len(str(caught.value)) < 3000


def test_a_long_name_of_words_of_time_takes_no_time():
    assert find_columns([*MAIN, "timestamp" * 50 + "x"], "my.csv").keys() == set(MAIN)
